/**
 * Shell commands for the guest that end once eth0 has a lease, one for each DHCP client of the image. Each sets the
 * address, the default route, the MTU and /etc/resolv.conf, except that networkd leaves resolv.conf alone. Under
 * emulation dhcpcd takes about 8 s, because it probes the address (RFC 5227), and the others about 1 s.
 */
export const DHCP_CLIENTS = {
  /** Stays in the background and renews; `dhclient -r -pf /run/dhclient.pid -lf /run/dhclient.leases eth0` releases. */
  dhclient: "dhclient -1 -v -pf /run/dhclient.pid -lf /run/dhclient.leases eth0",
  /** Exits; leaves every option of the lease in /run/udhcpc.eth0.env. */
  udhcpc: "busybox udhcpc -i eth0 -n -q -f -O mtu -O search -O staticroutes",
  /** Exits. */
  dhcpcd: "dhcpcd -4 -1 -w -t 30 eth0",
  /** Stays in the background and renews; SIGTERM to /run/networkd.pid releases. */
  networkd: [
    "networkd eth0 >/run/networkd.log 2>&1 & echo $! >/run/networkd.pid",
    "for _ in $(seq 300); do ip -4 -o addr show eth0 | grep -q inet && exit 0; sleep 0.1; done",
    "cat /run/networkd.log >&2; exit 1",
  ].join("\n"),
} as const;

/** Takes eth0 back to the state after boot: down, without addresses or routes, and nothing in resolv.conf. */
export const RESET_ETH0 = [
  "for pid in $(cat /run/dhclient.pid /run/networkd.pid 2>/dev/null); do kill -9 $pid; done",
  "rm -f /run/dhclient.pid /run/networkd.pid /run/dhclient.leases /var/lib/dhcpcd/*.lease",
  "ip addr flush dev eth0; ip link set eth0 down mtu 1500; : >/etc/resolv.conf",
].join("\n");

/** Starts dockerd and waits until it answers, about 10 s under emulation. Its log is /var/log/dockerd.log. */
export const START_DOCKER = [
  "dockerd >/var/log/dockerd.log 2>&1 &",
  "for _ in $(seq 600); do docker version >/dev/null 2>&1 && exit 0; sleep 0.2; done",
  "tail -50 /var/log/dockerd.log >&2; exit 1",
].join("\n");

/** Starts the servers of guest/servers.py, which published ports lead to, and waits until they listen. */
export const START_SERVERS = [
  "ulimit -n 65536",
  "python3 /usr/local/lib/hostd/servers.py >/run/servers.log 2>&1 &",
  "for _ in $(seq 100); do grep -q serving /run/servers.log && exit 0; sleep 0.1; done",
  "cat /run/servers.log >&2; exit 1",
].join("\n");

/** Starts sshd, which lets root in with the key that is given on standard input. */
export const START_SSHD = [
  "set -e",
  "mkdir -p /run/sshd /root/.ssh && chmod 700 /root/.ssh && cat >/root/.ssh/authorized_keys",
  "ssh-keygen -A >/dev/null",
  "/usr/sbin/sshd",
].join("\n");

/** Makes the container image `busybox` out of the guest's own busybox, without a registry. Needs dockerd. */
export const MAKE_BUSYBOX_CONTAINER_IMAGE = [
  "set -e",
  "mkdir -p /tmp/busybox/bin && cp /bin/busybox /tmp/busybox/bin/",
  "/tmp/busybox/bin/busybox --install /tmp/busybox/bin",
  "tar -C /tmp/busybox -c . | docker import --change 'CMD [\"/bin/sh\"]' - busybox",
].join("\n");
