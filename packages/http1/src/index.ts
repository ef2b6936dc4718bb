export { GrowingBuffer } from "./growing-buffer.ts";
export {
  type BodyFraming,
  type BodyScanner,
  declaredFraming,
  makeBodyScanner,
  requestFraming,
  responseFraming,
} from "./message-body.ts";
export {
  type Field,
  Fields,
  HeadReader,
  MAX_HEAD,
  MessageError,
  type RequestHead,
  type ResponseHead,
  readRequestHead,
  readResponseHead,
} from "./message-head.ts";
