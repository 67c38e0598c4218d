// The directory synchronization of BoxyHQ's Jackson (Ory Polis) at its own URL, and the memberships that it never shows, at `_truth`.
import { createRequire } from "node:module";
import { bodyOf, isAllowed, serve } from "./shell.mjs";

const { default: jackson } = createRequire(import.meta.url)("@boxyhq/saml-jackson");
const { directorySyncController: sync } = await jackson({
    externalUrl: "http://127.0.0.1",
    samlPath: "/saml",
    samlAudience: "https://saml.example.org",
    db: { engine: "mem" },
    noAnalytics: true,
    logger: { info: () => {}, warn: console.warn, error: console.error },
});
const directory = { tenant: "acme", product: "relay", type: "generic-scim-v2", name: "acme", webhook_url: "", webhook_secret: "" };
const { data, error } = await sync.directories.create(directory);
if (error) throw new Error(error.message);

async function answer(request) {
    const url = new URL(request.url, "http://127.0.0.1");
    const [, base, kind, id] = url.pathname.split("/");
    if (base === "_truth") {
        const { data: members } = await sync.groups.setTenantAndProduct("acme", "relay").getGroupMembers({ groupId: kind });
        return { status: 200, data: members };
    }
    if (base !== "scim" || !["Users", "Groups"].includes(kind)) return { status: 404, data: { error: { message: "Not found" } } };
    const body = await bodyOf(request);
    const number = (name) => (url.searchParams.has(name) ? Number(url.searchParams.get(name)) : undefined);
    return sync.requests.handle({
        method: request.method,
        body: body ? JSON.parse(body) : undefined,
        directoryId: data.id,
        resourceType: kind.toLowerCase(),
        resourceId: id && decodeURIComponent(id),
        // The product draws the secret itself, and the test's token stands for it.
        apiSecret: isAllowed(request) ? data.scim.secret : "",
        query: { count: number("count"), startIndex: number("startIndex"), filter: url.searchParams.get("filter") ?? undefined },
    });
}

serve(async (request, response) => {
    // As the product's own route does: an exception is 500 with a body that is not SCIM.
    const { status, data } = await answer(request)
        .catch((error) => ({ status: 500, data: { error: { message: error.message } } }));
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(data));
});
