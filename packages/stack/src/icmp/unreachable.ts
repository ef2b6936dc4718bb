/** Codes of ICMP destination unreachable (RFC 792; 9, 10 and 13 of RFC 1812, 5.2.7.1). */
export const UNREACHABLE_NET = 0;
export const UNREACHABLE_HOST = 1;
export const UNREACHABLE_PROTOCOL = 2;
export const UNREACHABLE_PORT = 3;
export const FRAGMENTATION_NEEDED = 4;
export const UNREACHABLE_PROHIBITED = 13;

export type UnreachableCode =
  | typeof UNREACHABLE_NET
  | typeof UNREACHABLE_HOST
  | typeof UNREACHABLE_PROTOCOL
  | typeof UNREACHABLE_PORT
  | typeof UNREACHABLE_PROHIBITED;
