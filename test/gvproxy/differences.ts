/** Where hostd answers gvproxy's calls differently, on purpose. */
import type { Surroundings } from "./script.ts";

export interface Difference {
  readonly what: string;
  readonly gvproxy: string;
  readonly hostd: string;
  readonly why: string;
  /** What hostd answers to the calls of the script that show it: the status and the body, or a word of the guest's. */
  readonly answers: Readonly<Record<string, { readonly status: number; readonly body: string } | string>>;
}

export function makeDifferences({ folder }: Pick<Surroundings, "folder">): readonly Difference[] {
  const done = { status: 200, body: "" };
  const error = (status: number, text: string) => ({ status, body: `${text}\n` });
  const json = (value: unknown) => ({ status: 200, body: `${JSON.stringify(value)}\n` });
  const address = (Name: string, IP: string) => ({ Name, IP });
  const standardZones = [
    {
      Name: "containers.internal.",
      Records: [address("gateway", "192.168.127.1"), address("host", "192.168.127.254")],
      DefaultIP: "",
    },
    {
      Name: "docker.internal.",
      Records: [
        address("gateway", "192.168.127.1"),
        address("host", "192.168.127.254"),
        address("http", "192.168.127.1"),
        address("kubernetes", "192.168.127.254"),
      ],
      DefaultIP: "",
    },
  ];
  const zoneName = 'labels of 1 to 63 letters, digits, "-" and "_", joined by dots, 253 characters in all';
  return [
    {
      what: "A forward that is there already",
      gvproxy: "0.8.1 tries to listen; 0.8.9 says `proxy already running`",
      hostd: "`proxy already running`",
      why: "0.8.9 is what is followed; a Unix socket that is there is not replaced",
      answers: {
        "a port that is there": error(500, "proxy already running"),
        "a port that is there, to another one": error(500, "proxy already running"),
      },
    },
    {
      what: "`Regexp` of a record without one, in `/services/dns/all`",
      gvproxy: "0.8.1 writes `null`; 0.8.9 leaves it out",
      hostd: "left out",
      why: "0.8.9 is what is followed",
      answers: {
        "zones with addresses of each kind": json([
          ...standardZones,
          {
            Name: "six.test.",
            Records: [
              address("mapped", "192.0.2.4"),
              address("six", "2001:db8::1"),
              { ...address("", "192.0.2.5"), Regexp: "a(.*)<b>" },
            ],
            DefaultIP: "2001:db8::2",
          },
        ]),
      },
    },
    {
      what: "Names that hostd has beside gvproxy's",
      gvproxy: "`host` and `gateway` in `docker.internal`",
      hostd: "`http`, `kubernetes` and, once it has an address, `vm` too",
      why: "They are answered, so they are listed",
      answers: { "zones of a fresh program": json(standardZones) },
    },
    {
      what: "The end of a stream in one direction",
      gvproxy: "0.8.1 closes both; 0.8.9 passes it on",
      hostd: "passed on, and the other direction goes on",
      why: "0.8.9 is what is followed",
      answers: {
        "the end of that connection": "last words, and its end",
        "the end of a tunnel": "last words, and its end",
      },
    },
    {
      what: "A `remote` that is a name",
      gvproxy: "the handler panics, and the connection is closed without an answer",
      hostd: "400, and what is wrong",
      why: "Nobody can tell what is wrong from a connection that is closed",
      answers: {
        "a remote that is a name": error(400, 'remote example:80: "example" is not an IPv4 address'),
        "a Unix socket to a name": error(400, 'remote example:80: "example" is not an IPv4 address'),
      },
    },
    {
      what: "A `remote` that no guest can have: port 0, loopback, the gateway, also as the address of a client of TCP that completes it",
      gvproxy: "200, and every connection fails",
      hostd: "400, and what is wrong",
      why: "What cannot work is told to who asks for it",
      answers: {
        "a remote with port 0": error(400, "remote 192.168.127.2:0: the port is 0"),
        "a remote that is loopback": error(400, "remote 127.0.0.1:80: no guest has the address 127.0.0.1"),
        "a remote that is a port, over TCP": error(400, "remote 127.0.0.1:80: no guest has the address 127.0.0.1"),
        "a remote that is the gateway": error(
          400,
          "remote 192.168.127.1:80: 192.168.127.1 is an address of the gateway, not of a guest",
        ),
      },
    },
    {
      what: "A port of `remote` above 65535",
      gvproxy: "0.8.1 leads to another port; later versions answer 500",
      hostd: '500, `strconv.Atoi: parsing "99999": value out of range`',
      why: "What cannot work is told to who asks for it",
      answers: {
        "a remote whose port is too high": error(500, 'strconv.Atoi: parsing "99999": value out of range'),
      },
    },
    {
      what: "A file in the place of a Unix socket",
      gvproxy: "removed, whatever it is",
      hostd: "500; only a socket that nobody listens on is removed",
      why: "Nobody is to lose a file by a mistyped path",
      answers: {
        "a Unix socket that is a file": error(
          500,
          `${folder}/file: exists and is not a socket; it is left alone, choose another path or remove it`,
        ),
      },
    },
    {
      what: "A Unix socket without a path",
      gvproxy: "200, with a name that Linux chooses and nobody is told",
      hostd: "400, and what is wrong",
      why: "What cannot work is told to who asks for it",
      answers: { "a Unix socket without a path": error(400, "local: the path of the socket is missing") },
    },
    {
      what: "A Unix socket in a folder that is not there",
      gvproxy: "500",
      hostd: "200; the folder is made, for this user alone",
      why: "So hostd does for all of its sockets",
      answers: { "a Unix socket in a folder that is not there": done },
    },
    {
      what: "`ssh-tunnel://` without a user, or to a name",
      gvproxy: "200, and every connection fails",
      hostd: "400, and what is wrong",
      why: "What cannot work is told to who asks for it",
      answers: {
        "SSH without a user": error(400, "remote: the user is missing, as in ssh-tunnel://core@192.168.127.2/path"),
      },
    },
    {
      what: "A name in `local` that nobody has",
      gvproxy: "`lookup NAME on SERVER: no such host`",
      hostd: "`lookup NAME: no such host`",
      why: "The system does not tell which server it asked",
      answers: { "a name that nobody has": error(500, "listen tcp: lookup host.invalid: no such host") },
    },
    {
      what: "Zones and records that can answer nothing: without a name, with an impossible name, without an address",
      gvproxy: "200",
      hostd: "400, and what is wrong",
      why: "What cannot work is told to who asks for it",
      answers: {
        "a zone without a name": error(400, `"" is not a zone name: ${zoneName}`),
        "a zone whose name is none": error(400, `"a b." is not a zone name: ${zoneName}`),
        "a record without a name": error(400, "a record has neither a Name nor a Regexp"),
        "a record that is null": error(400, "a record has neither a Name nor a Regexp"),
        "a record without an address": error(400, 'the record "db" has no IP'),
      },
    },
    {
      what: "A regular expression that is none",
      gvproxy: "400, ``error parsing regexp: missing closing ): `(` ``",
      hostd: "400, with the zone in front",
      why: "The expression is read with the zone",
      answers: {
        "a regular expression that is none": error(
          400,
          '"(" in the zone bad.test is not a regular expression in the syntax of RE2: ' +
            "error parsing regexp: missing closing ): `(?i)(`",
        ),
      },
    },
    {
      what: "Escapes in a path, such as `/%6ceases`",
      gvproxy: "decoded",
      hostd: "404",
      why: "No client sends them",
      answers: { "an escape in a path": error(404, "404 page not found") },
    },
    {
      what: "The version in the answer to HTTP/1.0",
      gvproxy: "HTTP/1.0",
      hostd: "HTTP/1.1, and the connection is closed as well",
      why: "Node has no other, and RFC 9110, section 6.2 allows it",
      answers: { "HTTP/1.0": json({}) },
    },
    {
      what: "Forwards that a guest may see and remove",
      gvproxy: "all of them",
      hostd: "those that it has published itself",
      why: "Every container can ask; they say where files of the host are",
      answers: {
        "forwards of the host as the guest sees them": json([]),
        "unexpose what the host has, from the guest": error(500, "proxy not found"),
      },
    },
    {
      what: "Where a guest's forward may lead",
      gvproxy: "anywhere",
      hostd: "403, but for an address that its VM has shown",
      why: "A guest is not to publish ports of others",
      answers: {
        "expose another address, from the guest": error(
          403,
          "remote 192.168.127.9:80: a guest may only publish ports of itself",
        ),
      },
    },
  ];
}
