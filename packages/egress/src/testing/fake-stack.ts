import type { Ipv4, UnreachableCode } from "@hostd/stack";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import type { EchoFlow, EgressStack, UdpFlow } from "../stack-port.ts";

export interface SentDatagram {
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly destinationPort: number;
  readonly payload: Buffer;
}

export interface SentReply {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly identifier: number;
  readonly sequence: number;
  readonly data: Buffer;
}

/** Takes what egress sends to guests. */
export class FakeStack implements EgressStack {
  readonly datagrams = new EventLog<SentDatagram>();
  readonly replies = new EventLog<SentReply>();
  readonly udpErrors = new EventLog<{ code: UnreachableCode; flow: UdpFlow; from: Ipv4 | null }>();
  readonly echoErrors = new EventLog<{ code: UnreachableCode; request: EchoFlow; from: Ipv4 | null }>();

  udpSend(
    source: Ipv4,
    sourcePort: number,
    destination: Ipv4,
    destinationPort: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    const payload = Buffer.from(bytes.slice(offset, offset + length));
    this.datagrams.push({ source, sourcePort, destination, destinationPort, payload });
    return true;
  }

  udpUnreachable(code: UnreachableCode, flow: UdpFlow, from: Ipv4 | null): void {
    this.udpErrors.push({ code, flow: { ...flow }, from });
  }

  echoReply(
    source: Ipv4,
    destination: Ipv4,
    identifier: number,
    sequence: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): void {
    const data = Buffer.from(bytes.slice(offset, offset + length));
    this.replies.push({ source, destination, identifier, sequence, data });
  }

  echoUnreachable(code: UnreachableCode, request: EchoFlow, from: Ipv4 | null): void {
    this.echoErrors.push({ code, request: { ...request }, from });
  }
}
