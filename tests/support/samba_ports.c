/* Samba's LDAP server knows four ports and no others, and tells by them what a connection speaks. Preloaded, this lets it
 * listen on those that SAMBA_PORT_389 and so on name, and makes it believe that they are its own: so several domain
 * controllers run side by side, beside whatever has the usual ports. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const unsigned usual[] = {389, 636, 3268, 3269};

static unsigned other(unsigned port) {
    char name[32];
    snprintf(name, sizeof name, "SAMBA_PORT_%u", port);
    const char *value = getenv(name);
    return value ? (unsigned)atoi(value) : port;
}

static in_port_t *port_of(struct sockaddr *address) {
    if (address->sa_family == AF_INET) return &((struct sockaddr_in *)address)->sin_port;
    if (address->sa_family == AF_INET6) return &((struct sockaddr_in6 *)address)->sin6_port;
    return NULL;
}

int bind(int socket, const struct sockaddr *address, socklen_t length) {
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    struct sockaddr_storage copy = {0};
    if (length > sizeof copy) return real(socket, address, length);
    memcpy(&copy, address, length);
    in_port_t *port = port_of((struct sockaddr *)&copy);
    if (port) *port = htons(other(ntohs(*port)));
    return real(socket, (struct sockaddr *)&copy, length);
}

int getsockname(int socket, struct sockaddr *address, socklen_t *length) {
    int (*real)(int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "getsockname");
    int result = real(socket, address, length);
    in_port_t *port = result == 0 ? port_of(address) : NULL;
    for (size_t at = 0; port && at < sizeof usual / sizeof *usual; at++) {
        if (ntohs(*port) == other(usual[at])) {
            *port = htons(usual[at]);
            break;
        }
    }
    return result;
}
