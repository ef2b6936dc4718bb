/** What asks PAC scripts, with the thread in which they run: loaded for the first of them. */
export { Pac } from "@hostd/httpproxy";
