import { checkDocker, checkDockerContext, checkDockerSocket, checkEngineInVm } from "./docker-checks.ts";
import { type Finding, messageOf, type Status, warning } from "./finding.ts";
import type { Check, Host, Subject } from "./host.ts";
import { checkNode, checkOpenFiles, checkPing, checkSocketLimits, checkSystemCalls } from "./host-checks.ts";
import { checkNameServers, checkSubnet } from "./network-checks.ts";
import { checkLowPorts, checkPorts } from "./port-checks.ts";
import { checkProxies } from "./proxy-checks.ts";
import {
  checkConfiguration,
  checkDaemon,
  checkEndpoints,
  checkRuntimeFolder,
  checkStateFolder,
} from "./socket-checks.ts";
import { checkQemu, checkVms } from "./vm-checks.ts";

/** How long one check may take, in milliseconds. */
export const CHECK_TIME = 2000;

/** Checks that belong together, for people. */
export interface Section {
  readonly title: string;
  /** By what each is about. */
  readonly checks: Readonly<Record<string, Check>>;
}

export const SECTIONS: readonly Section[] = [
  {
    title: "This host",
    checks: {
      node: checkNode,
      "system calls": checkSystemCalls,
      "open files": checkOpenFiles,
      "socket limits": checkSocketLimits,
      ping: checkPing,
    },
  },
  {
    title: "Networks",
    checks: { subnet: checkSubnet, "name servers": checkNameServers, proxies: checkProxies },
  },
  {
    title: "hostd",
    checks: {
      configuration: checkConfiguration,
      hostd: checkDaemon,
      "runtime folder": checkRuntimeFolder,
      "state folder": checkStateFolder,
      endpoints: checkEndpoints,
      ports: checkPorts,
      "low ports": checkLowPorts,
    },
  },
  {
    title: "VMs",
    checks: {
      VMs: checkVms,
      QEMU: checkQemu,
      Docker: checkDocker,
      "Docker socket": checkDockerSocket,
      "Docker context": checkDockerContext,
      "engine in the VM": checkEngineInVm,
    },
  },
];

/** What was found under a title. */
export interface SectionFindings {
  readonly title: string;
  readonly findings: readonly Finding[];
}

/**
 * Does all checks at once. One that fails, or takes too long, is a finding itself.
 *
 * @param time - how long each may take, in milliseconds.
 */
export async function runChecks(
  host: Host,
  subject: Subject,
  sections: readonly Section[] = SECTIONS,
  time = CHECK_TIME,
): Promise<SectionFindings[]> {
  return await Promise.all(
    sections.map(async ({ title, checks }) => {
      const findings = Object.entries(checks).map(([name, check]) => runCheck(name, check, host, subject, time));
      return { title, findings: (await Promise.all(findings)).flat() };
    }),
  );
}

async function runCheck(
  name: string,
  check: Check,
  host: Host,
  subject: Subject,
  time: number,
): Promise<readonly Finding[]> {
  const late = Promise.withResolvers<readonly Finding[]>();
  const timer = setTimeout(() => {
    late.resolve([warning(name, `not known after ${time / 1000} seconds`, "look again when the host is less busy")]);
  }, time);
  try {
    return await Promise.race([(async () => await check(host, subject))(), late.promise]);
  } catch (error) {
    return [warning(name, `cannot be looked at: ${messageOf(error)}`, "see that this user may look at it")];
  } finally {
    clearTimeout(timer);
  }
}

/** The worst of what was found. */
export function worstOf(sections: readonly SectionFindings[]): Status {
  const found = new Set(sections.flatMap(({ findings }) => findings.map(({ status }) => status)));
  return found.has("failure") ? "failure" : found.has("warning") ? "warning" : "ok";
}
