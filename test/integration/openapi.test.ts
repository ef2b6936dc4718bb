import { Validator } from "@seriousme/openapi-schema-validator";
import { describe, expect, it } from "vitest";
import { askDaemon } from "./support/control.ts";
import { inLab } from "./support/lab.ts";

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly name: string; readonly required: boolean }[];
}

describe("the OpenAPI document", () => {
  it("is valid, and describes every path and method that is answered, and no other", () =>
    inLab(async (lab) => {
      const api = `${lab.folder}/api.sock`;
      await lab.start({ api });
      const { status, json } = await askDaemon(api, "GET", "/openapi.json");
      expect(status).toBe(200);
      const verdict = await new Validator().validate(json as Record<string, unknown>);
      expect(verdict.errors).toBeUndefined();
      expect(verdict.valid).toBe(true);
      const { paths } = json as { paths: Record<string, Record<string, Operation>> };

      // What hostd itself says that there is.
      const missing = await askDaemon(api, "GET", "/nothing");
      expect((missing.json as { detail: string }).detail).toBe(
        `there is no /nothing; there are ${[...Object.keys(paths), "/openapi.json"].join(", ")}`,
      );
      const names = new Set<string>();
      for (const [path, operations] of Object.entries(paths)) {
        const { headers, status: refused } = await askDaemon(api, "OPTIONS", path);
        expect(refused, path).toBe(405);
        const allowed = String(headers.allow).split(", ");
        const described = Object.keys(operations).map((method) => method.toUpperCase());
        expect(allowed.filter((method) => method !== "HEAD").sort(), path).toEqual(described.sort());
        for (const [method, { operationId, parameters = [] }] of Object.entries(operations)) {
          expect(names.has(operationId), operationId).toBe(false);
          names.add(operationId);
          const required = parameters.filter((parameter) => parameter.required);
          // A parameter that is not described is refused, and so is the lack of one that has to be there.
          const unknown = await askDaemon(api, method.toUpperCase(), `${path}?nonsense=1`);
          expect(unknown.status, `${method} ${path}`).toBe(400);
          expect((unknown.json as { detail: string }).detail).toContain('no parameter "nonsense"');
          if (required.length === 0) continue;
          const incomplete = await askDaemon(api, method.toUpperCase(), path);
          expect(incomplete.status, `${method} ${path}`).toBe(400);
          expect((incomplete.json as { detail: string }).detail).toContain(
            `the parameter ${required[0].name} is missing`,
          );
        }
      }
    }));
});
