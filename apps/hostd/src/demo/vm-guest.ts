import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { type Plan, REPORT_MARK } from "./plan.ts";

const QEMU = "qemu-system-x86_64";

/** A Linux that QEMU boots without a boot loader: absolute paths. */
export interface DemoImage {
  readonly kernel: string;
  readonly initrd: string;
  readonly disk: string;
}

/** The newest image in the cache that the real-VM tests build, or null. */
export function findImage(): DemoImage | null {
  const cache = process.env.HOSTD_VM_CACHE ?? join(homedir(), ".cache", "hostd", "vm");
  if (process.arch !== "x64" || !existsSync(cache)) return null;
  const images = readdirSync(cache)
    .map((name) => join(cache, name))
    .filter((folder) => ["kernel", "initrd", "disk.ext4"].every((file) => existsSync(join(folder, file))))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  const folder = images.at(0);
  if (folder === undefined) return null;
  return { kernel: join(folder, "kernel"), initrd: join(folder, "initrd"), disk: join(folder, "disk.ext4") };
}

/** Whether QEMU is installed. */
export function hasQemu(): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, QEMU), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Boots the image on a link, with a script that does what the plan says; reports come on its standard output. */
export function bootVm(image: DemoImage, netdev: string, folder: string, plan: Plan): ChildProcess {
  const script = join(folder, "script");
  const bytes = Buffer.from(`${guestScript(plan)}\n`);
  const disk = Buffer.alloc(Math.ceil(bytes.length / 512) * 512, "\n");
  bytes.copy(disk);
  writeFileSync(script, disk);
  return spawn(
    QEMU,
    [
      ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
      ...["-M", "q35", "-m", "1024", "-smp", "2", "-cpu", "max,la57=off", "-accel", "tcg,thread=multi"],
      ...["-kernel", image.kernel, "-initrd", image.initrd],
      ...["-append", "console=ttyS0 quiet net.ifnames=0 panic=-1 random.trust_cpu=on mitigations=off"],
      ...[
        "-drive",
        `if=none,id=root,format=raw,snapshot=on,file=${image.disk}`,
        "-device",
        "virtio-blk-pci,drive=root",
      ],
      ...["-drive", `if=none,id=script,format=raw,readonly=on,file=${script}`],
      ...["-device", "virtio-blk-pci,drive=script"],
      // The image's agent speaks to the tests; here nobody listens.
      ...["-chardev", "file,id=agent,path=/dev/null", "-device", "virtio-serial-pci"],
      ...["-device", "virtserialport,chardev=agent,name=hostd.agent"],
      ...["-serial", "stdio", "-netdev", netdev, "-device", "virtio-net-pci,romfile=,netdev=net0"],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
}

function guestScript(plan: Plan): string {
  const { hostName, gateway, outsideName, httpPort, udpPort, closedPort, udpLength, seconds } = plan;
  const url = `http://${hostName}:${httpPort}`;
  return `
report() { echo; echo "${REPORT_MARK} $*"; }
busybox udhcpc -i eth0 -n -q -f -O mtu -O search >/dev/null 2>&1
report lease $(ip -4 -o addr show eth0 | awk '{print $4}')
report ping $(ping -c1 ${gateway} | sed -n 's/.*time=\\(.*\\)/\\1/p')
report host $(getent hosts ${hostName} | awk '{print $1}')
report download $(curl -sS ${url}/download | sha256sum | cut -d' ' -f1)
report lookup $(dig +short ${outsideName} | tr '\\n' ' ')
report udp $(python3 -I -S - <<'PYTHON'
import os, socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
data = os.urandom(${udpLength})
began = time.monotonic()
s.sendto(data, ("${hostName}", ${udpPort}))
echo = s.recv(65536)
took = (time.monotonic() - began) * 1000
print("%d bytes in %.2f ms" % (len(echo), took) if echo == data else "other bytes came back")
PYTHON
)
report refused $(python3 -I -S - <<'PYTHON'
import errno, socket, time
s = socket.socket()
s.settimeout(5)
began = time.monotonic()
try:
    s.connect(("${hostName}", ${closedPort}))
    outcome = "accepted"
except OSError as e:
    outcome = errno.errorcode.get(e.errno, "ETIMEDOUT")
print(outcome, "%.1f" % ((time.monotonic() - began) * 1000))
PYTHON
)
report down $(curl -s -m ${seconds} -o /dev/null -w '%{speed_download}' ${url}/endless)
report up $(curl -s -m ${seconds} -T /dev/zero -o /dev/null -w '%{speed_upload}' ${url}/upload)
poweroff
`;
}
