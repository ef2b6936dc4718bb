import { expect, test } from "vitest";
import { writeHttp2Refusal } from "./http2-refusal.ts";

test("a refusal is the server's empty settings, and a GOAWAY that no stream has come before", () => {
  expect(writeHttp2Refusal("why").toString("hex")).toBe(
    [
      // SETTINGS: length, type, flags, stream.
      "000000 04 00 00000000",
      // GOAWAY: the same; last stream, HTTP_1_1_REQUIRED, debug data.
      "00000b 07 00 00000000 00000000 0000000d",
      Buffer.from("why").toString("hex"),
    ]
      .join("")
      .replaceAll(" ", ""),
  );
});
