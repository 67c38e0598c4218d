// Better Auth's SCIM plug-in in memory, at the URL and with the defaults that it has in an application.
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { getAuthTables } from "better-auth/db";
import { toNodeHandler } from "better-auth/node";
import { scim } from "@better-auth/scim";
import { serve, token } from "./shell.mjs";

const plugins = [scim({ connections: [{ id: "relay", credentials: [{ type: "bearer", id: "relay", token }] }] })];
const tables = Object.values(getAuthTables({ plugins })).map(({ modelName }) => [modelName, []]);
const auth = betterAuth({
    baseURL: "http://127.0.0.1",
    secret: "a secret of this test server, which keeps nothing",
    database: memoryAdapter(Object.fromEntries(tables)),
    telemetry: { enabled: false },
    rateLimit: { enabled: false },
    plugins,
});
serve(toNodeHandler(auth));
