# The inside of a ResolvedHost. Nothing it changes is seen outside of its namespaces.
set -e

# An /etc and a /run of its own.
mount -t tmpfs tmpfs "$FOLDER"
mkdir "$FOLDER/etc"
cp /etc/ld.so.cache /etc/passwd /etc/group "$FOLDER/etc/"
grep -q '^systemd-resolve:' /etc/passwd || echo 'systemd-resolve:x:991:991::/:/usr/sbin/nologin' >> "$FOLDER/etc/passwd"
grep -q '^systemd-resolve:' /etc/group || echo 'systemd-resolve:x:991:' >> "$FOLDER/etc/group"
printf 'hosts: files dns\n' > "$FOLDER/etc/nsswitch.conf"
ln -s ../run/systemd/resolve/stub-resolv.conf "$FOLDER/etc/resolv.conf"
mount --bind "$FOLDER/etc" /etc
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
mkdir -p /run/dbus /run/systemd/resolved.conf.d

# The links, and what is behind them.
ip link set lo up
ip netns add outside
link() {
  ip link add "$1" type veth peer name eth-"$1" netns outside
  ip addr add "${2%.*}.1/24" dev "$1"
  ip link set "$1" up
  ip -n outside addr add "$2/24" dev eth-"$1"
  ip -n outside link set eth-"$1" up
  ip netns exec outside dnsmasq --keep-in-foreground --user=root --conf-file=/dev/null --no-resolv --no-hosts \
    --pid-file= --bind-interfaces --listen-address="$2" --address="/#/$3" >&2 &
}
link corp0 "$CORP_SERVER" "$CORP_ANSWER"
link lab0 "$LAB_SERVER" "$LAB_ANSWER"

cat > /run/bus.conf <<'EOF'
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
EOF
dbus-daemon --config-file=/run/bus.conf --fork

daemon="$PACKAGE/usr/lib/systemd/systemd-resolved"
[ -x "$daemon" ] || daemon="$PACKAGE/lib/systemd/systemd-resolved"
(
  set +e
  while :; do
    "$daemon" >&2 &
    echo $! > /run/resolved.pid
    wait $!
    : > /run/resolved.ended
    while [ -e /run/resolved.ended ]; do sleep 0.05; done
  done
) &
PATH="$PACKAGE/usr/bin:$PATH"
tries=0
until resolvectl status > /dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ]
  sleep 0.1
done
echo ready
# Until the standard input ends.
cat
