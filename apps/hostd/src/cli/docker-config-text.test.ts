import { expect, it } from "vitest";
import { describeEngineConfig } from "./docker-config-text.ts";

it("says what every key is for, which files there are beside it, and what else there is to know", () => {
  const words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen";
  const lines = describeEngineConfig(
    {
      settings: [
        { key: "dns", value: ["192.168.65.1"], reason: "for names" },
        { key: "allow-direct-routing", value: true, reason: words },
      ],
      files: [{ path: "/etc/a.conf", text: "a = 1\nb = 2\n", reason: "since it is so" }],
      notes: ["This is known.", words],
    },
    "For Docker 28.2.",
  );
  expect(lines).toEqual([
    "",
    "For Docker 28.2.",
    "",
    "The VM needs what is on standard output as /etc/docker/daemon.json:",
    "  dns                   for names",
    "  allow-direct-routing  one two three four five six seven eight nine ten eleven twelve thirteen",
    "                        fourteen fifteen sixteen",
    "",
    "It also needs /etc/a.conf:",
    "  a = 1",
    "  b = 2",
    "-> since it is so",
    "",
    "Then, as root in the VM: sysctl --system; systemctl daemon-reload; systemctl restart docker",
    "",
    "This is known.",
    "",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
  ]);
});
