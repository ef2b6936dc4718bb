import { describe, expect, test } from "vitest";
import { readEngineEvent } from "./engine-event.ts";

const ID = "a".repeat(64);

describe("an event", () => {
  test.each([
    [
      "Docker before API 1.52",
      {
        status: "die",
        id: ID,
        from: "nginx",
        Type: "container",
        Action: "die",
        Actor: { ID, Attributes: { exitCode: "0" } },
      },
      { type: "container", action: "die", id: ID, container: ID },
    ],
    [
      "Docker since API 1.52",
      { Type: "container", Action: "start", Actor: { ID, Attributes: { name: "web" } }, scope: "local" },
      { type: "container", action: "start", id: ID, container: ID },
    ],
    [
      "a network",
      { Type: "network", Action: "connect", Actor: { ID: "net", Attributes: { container: ID, name: "bridge" } } },
      { type: "network", action: "connect", id: "net", container: ID },
    ],
    [
      "a network in Podman",
      { status: "connect", id: ID, Type: "network", Action: "connect", Actor: { ID, Attributes: { name: "web" } } },
      { type: "network", action: "connect", id: ID, container: ID },
    ],
    [
      "Podman's end",
      { Type: "container", Status: "died", Actor: { ID } },
      { type: "container", action: "die", id: ID, container: ID },
    ],
    [
      "Podman's removal",
      { Type: "container", Action: "remove", Actor: { ID } },
      { type: "container", action: "destroy", id: ID, container: ID },
    ],
    [
      "a service's removal",
      { Type: "service", Action: "remove", Actor: { ID: "s" } },
      { type: "service", action: "remove", id: "s", container: "" },
    ],
    ["an old engine", { status: "start", id: ID }, { type: "container", action: "start", id: ID, container: ID }],
  ])("of %s is read", (_, value, expected) => {
    expect(readEngineEvent(value)).toEqual(expected);
  });

  test.each([
    null,
    1,
    "start",
    [],
    {},
    { Type: "container" },
    { Action: 1, Actor: { ID } },
    { Action: "start", Actor: null },
  ])("is not %j", (value) => {
    expect(readEngineEvent(value)).toBeNull();
  });
});
