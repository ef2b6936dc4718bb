export { type AttachHandlers, type Attachment, attachQemu } from "./attach.ts";
export { type DriverOptions, type FrameTap, StackDriver } from "./driver.ts";
export { type Endpoint, formatEndpoint, formatSocketAddress, type TcpAddress, type UnixAddress } from "./endpoint.ts";
export type { Framing } from "./framing.ts";
export { PcapWriter } from "./pcap.ts";
export { MAX_SNAP_LENGTH, PcapEncoder, type PcapEncoderOptions } from "./pcap-encoder.ts";
export type { FrameConsumer, FramePort } from "./port.ts";
export { StreamPort, type StreamPortOptions } from "./stream-port.ts";
export { listenOnPrivateSocket, prepareSocketPath, SocketPathError } from "./unix-socket.ts";
