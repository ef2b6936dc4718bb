import { expect, test } from "vitest";
import { systemProgram } from "./system-program.ts";

test("is that of the platform, and on others that of GNOME where there is a session bus", () => {
  const session = { DBUS_SESSION_BUS_ADDRESS: "unix:path=/run/user/1000/bus" };
  expect(systemProgram("darwin", {})?.name).toBe("the settings of macOS");
  expect(systemProgram("win32", session)?.name).toBe("the settings of Windows");
  expect(systemProgram("linux", session)?.name).toBe("the settings of GNOME");
  expect(systemProgram("freebsd", session)?.name).toBe("the settings of GNOME");
  expect(systemProgram("linux", {})).toBeNull();
});
