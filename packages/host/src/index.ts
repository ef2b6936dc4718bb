export {
  CommandError,
  type FollowHandlers,
  type HostCommand,
  type HostCommands,
  hostCommands,
  type RunCommand,
} from "./host-commands.ts";
export { type FileState, PolledFile, type PolledFileOptions } from "./polled-file.ts";
