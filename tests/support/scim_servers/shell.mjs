// What the Node servers share: a socket that is handed over as standard input, and a log of what was asked and answered.
import http from "node:http";

/** The only bearer token that is accepted. */
export const token = process.env.SCIM_SERVER_TOKEN;

/** Serves with a handler of Node's requests and answers. */
export function serve(handler) {
    const server = http.createServer((request, response) => {
        note(request, response);
        handler(request, response);
    });
    server.keepAliveTimeout = 60_000;
    server.listen({ fd: 0 });
}

/** Reads a request's whole body. */
export async function bodyOf(request) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
}

/** Whether the request shows the token. */
export const isAllowed = (request) => request.headers.authorization === `Bearer ${token}`;

function note(request, response) {
    const asked = [];
    const answered = [];
    const push = request.push;
    request.push = (chunk, ...rest) => {
        if (chunk) asked.push(Buffer.from(chunk));
        return push.call(request, chunk, ...rest);
    };
    for (const name of ["write", "end"]) {
        const method = response[name];
        response[name] = (chunk, ...rest) => {
            if (typeof chunk === "string" || chunk instanceof Uint8Array) answered.push(Buffer.from(chunk));
            return method.call(response, chunk, ...rest);
        };
    }
    response.on("finish", () => {
        const text = (chunks) => Buffer.concat(chunks).toString();
        console.log(request.method, request.url, text(asked), "->", response.statusCode, text(answered));
    });
}
