export { type AttachHandlers, type Attachment, attachQemu } from "./attach.ts";
export { type DriverOptions, type FrameTap, StackDriver } from "./driver.ts";
export { type Endpoint, formatEndpoint, formatSocketAddress, type TcpAddress, type UnixAddress } from "./endpoint.ts";
export { PcapWriter } from "./pcap.ts";
export type { FrameConsumer, FramePort } from "./port.ts";
export { QemuPort } from "./qemu-port.ts";
export { prepareSocketPath, SocketPathError } from "./unix-socket.ts";
