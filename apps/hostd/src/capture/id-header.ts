/** The header of a capture's answer that tells its id, by which it can be ended and asked about. */
export const CAPTURE_ID_HEADER = "hostd-capture";
