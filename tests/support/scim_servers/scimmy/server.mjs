// SCIMMY behind express: the library does all of SCIM, this only stores, and keeps userName unique as RFC 7643 §4.1.1 wants it.
import { randomUUID } from "node:crypto";
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";
import { serve, token } from "./shell.mjs";

function storedIn(stored, check) {
    const missing = (id) => new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);
    return {
        egress: (resource) => {
            const all = [...stored.values()];
            if (!resource.id) return resource.filter ? resource.filter.match(all) : all;
            if (!stored.has(resource.id)) throw missing(resource.id);
            return stored.get(resource.id);
        },
        ingress: (resource, data) => {
            if (resource.id && !stored.has(resource.id)) throw missing(resource.id);
            const id = resource.id ?? randomUUID();
            const before = stored.get(id);
            const now = new Date();
            const sent = JSON.parse(JSON.stringify(data));
            check?.(id, sent);
            const kept = { ...sent, id, meta: { created: before?.meta.created ?? now, lastModified: now } };
            stored.set(id, kept);
            return kept;
        },
        degress: (resource) => {
            if (!stored.delete(resource.id)) throw missing(resource.id);
        },
    };
}

const users = new Map();
const isUnique = (id, { userName }) => {
    const taken = [...users.values()].some((user) => user.id !== id && user.userName.toLowerCase() === userName.toLowerCase());
    if (taken) throw new SCIMMY.Types.Error(409, "uniqueness", `userName ${userName} is taken`);
};
SCIMMY.Schemas.User.extend(SCIMMY.Schemas.EnterpriseUser);
for (const [type, handlers] of [["User", storedIn(users, isUnique)], ["Group", storedIn(new Map())]]) {
    SCIMMY.Resources.declare(SCIMMY.Resources[type], handlers);
}

const app = express();
const handler = (request) => {
    if (request.header("Authorization") !== `Bearer ${token}`) throw new Error("wrong token");
};
app.use("/scim/v2", new SCIMMYRouters({ type: "bearer", handler }));
serve(app);
