export { dialPort } from "./dial-port.ts";
export { EmbeddedGuest, type EmbeddedGuestOptions, type GuestDatagram, GuestUdpSocket } from "./embedded-guest.ts";
