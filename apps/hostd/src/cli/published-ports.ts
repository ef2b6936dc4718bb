/** How a published port is written: for the help of `up`, and of `ports add`. */
export const PUBLISHED_PORTS = `  8080:80                     127.0.0.1:8080 of this host is port 80 of the VM
  0.0.0.0:8080:80             every IPv4 address of this host; '*:8080:80' all
  8000-8010:8000-8010         eleven ports
  5353:53/udp                 datagrams
  8080:172.17.0.2:80          to an address behind the VM, as a container's
  unix:///run/web.sock:80     from a Unix socket of this host`;
