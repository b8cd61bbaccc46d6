// What a program on Node uses of this client.

export * from "./web.js";
export { JsonFileState } from "./state/json_file.js";
