/** Where the name server writes its log. A pino logger fits. */
export interface DnsLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}
