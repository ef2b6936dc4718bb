import * as z from "zod";
import { configToData, shownProxy } from "../config/print.ts";
import { ConfigError } from "../config/problems.ts";
import type { HostdConfig } from "../config/resolve.ts";
import type { Control } from "../control/control.ts";
import { RequestError } from "./problem.ts";
import type { Route } from "./route.ts";

const reloadReport = z.strictObject({
  changed: z.array(z.string()).describe("The keys whose new values hold now"),
  needRestart: z.array(z.string()).describe("The keys whose new values hold after a restart only"),
});

/** The configuration that holds. */
export function configRoutes(control: Pick<Control, "config" | "reload">): Route[] {
  return [
    {
      method: "GET",
      path: "/v1/config",
      name: "getConfig",
      summary:
        "The configuration that holds, with every default, as its file would have it; passphrases are left out, and *** stands for what is not shown of a proxy",
      answer: z.looseObject({ subnet: z.string() }),
      handle: () => withoutSecrets(control.config()),
    },
    {
      method: "POST",
      path: "/v1/config/reload",
      name: "reloadConfig",
      summary: "Reads the configuration again, and changes what can be changed while VMs are attached",
      answer: reloadReport,
      handle: async () => {
        try {
          return await control.reload();
        } catch (error) {
          if (error instanceof ConfigError) throw new RequestError(error.message);
          throw error;
        }
      },
    },
  ];
}

function withoutSecrets(config: HostdConfig) {
  const data = configToData(config);
  const { passphrase: _secret, ...docker } = { passphrase: undefined, ...data.docker };
  return {
    ...data,
    docker,
    proxy: shownProxy(config),
    forwards: data.forwards?.map((forward) => {
      const { passphrase: _, ...shown } = { passphrase: undefined, ...forward };
      return shown;
    }),
  };
}
