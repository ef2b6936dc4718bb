/** Builds the VM image into the cache, for `hostd demo --vm` and for the first run of the real-VM tests. */
import { ensureVm } from "./image.ts";

const availability = await ensureVm();
if (!availability.available) process.exit(1);
console.log(`The image is ready: ${availability.image.disk}`);
