/** The commands that look for what is wrong: their flags and help. What they run is loaded only then. */
import type { Command } from "commander";
import type { CaptureOptions } from "./capture.ts";
import type { DoctorOptions } from "./doctor.ts";

const CAPTURE_HELP = `
EXPRESSION is a part of tcpdump's language:
  [tcp|udp|sctp] [src|dst] port N, portrange A-B
  [ip|arp|ip6] [src|dst] host ADDRESS, net CIDR
  ether [src|dst] host MAC, broadcast, multicast, ip multicast, ip6 multicast
  tcp, udp, sctp, icmp, icmp6, igmp, ip, ip6, arp, rarp, less N, greater N
joined by and, or, not (&&, ||, !) and parentheses; "host A or B" says host once.

Packets for which the reader is too slow are dropped and counted; the VM is never held up.
Ctrl-C ends the capture, with all that was captured until then.

Examples:
  hostd capture -w - | wireshark -k -i -
  hostd capture -w - | tcpdump -n -r -
  hostd capture --filter 'tcp port 80 or 443' -w web.pcap
  hostd capture --filter 'not port 22' --snaplen 96 --count 1000 -w first.pcap

Documentation: docs/capture.md`;

const DOCTOR_HELP = `
Looks at what hostd needs of this host, at the configuration, and at the hostd that is
running, if one is. Nothing is changed.

Exit codes:
  0  nothing has failed; there may be warnings
  1  something has failed
  2  wrong command line or configuration

Examples:
  hostd doctor
  hostd doctor --config hostd.yaml
  hostd doctor --json | jq '.checks[] | select(.status != "ok")'

Documentation: docs/doctor.md`;

/** Adds the commands to the program. */
export function addDiagnosticCommands(program: Command): void {
  program
    .command("capture")
    .summary("capture frames of VMs, for Wireshark or tcpdump")
    .description("Writes the frames of a running hostd's VMs as they pass, as a pcap file.")
    .option("-w, --write <file>", "write to this file, or to standard output for - (default: -)")
    .option("--filter <expression>", "only frames that this filter wants (default: all)")
    .option("--vm <name>", "only frames of this VM (default: all)")
    .option("--snaplen <bytes>", "keep so many bytes of each frame (default: 262144)")
    .option("--count <packets>", "end after so many packets")
    .option("--api <socket>", "the control API, unix:///PATH (default: that of the running daemon)")
    .helpOption("-h, --help", "show this help")
    .addHelpText("after", CAPTURE_HELP)
    .action(async (options: CaptureOptions) => {
      await (await import("./capture.ts")).runCapture(options);
    });

  program
    .command("doctor")
    .summary("check this host and hostd, and say what to do")
    .description("Checks what hostd needs of this host, and says what to do about what is missing.")
    .option("--config <file>", "the configuration to check for (default: no file)")
    .option("--api <socket>", "the control API, unix:///PATH (default: that of the configuration)")
    .option("--json", "as JSON")
    .helpOption("-h, --help", "show this help")
    .addHelpText("after", DOCTOR_HELP)
    .action(async (options: DoctorOptions) => {
      process.exitCode = await (await import("./doctor.ts")).runDoctor(options);
    });
}
