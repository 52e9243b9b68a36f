/*
 * A DRAC client: client HOST FORM ADDRESS prints the status that the server at
 * HOST answers. It finds the server's port through rpcbind. FORM is how the
 * address is put into the call:
 *
 *   host     version 1, a number in host byte order: what DRAC's library does
 *   network  version 1, without the conversion to host byte order
 *   opaque   version 2, the octets of an IPv6 address
 *   vector   version 2, the octets one by one
 */
#include <arpa/inet.h>
#include <rpc/rpc.h>
#include <stdio.h>
#include <string.h>

#define DRAC 900101
#define ADD 1

static unsigned char octets[16];

static bool_t xdr_octets(XDR *x, char *p) { return xdr_opaque(x, p, 16); }

static bool_t xdr_each(XDR *x, char *p)
{
	return xdr_vector(x, p, 16, 1, (xdrproc_t)xdr_u_char);
}

int main(int argc, char **argv)
{
	struct timeval wait = {10, 0};
	unsigned long number = 0;
	enum_t status = -1;
	xdrproc_t encode = (xdrproc_t)xdr_u_long;
	void *argument = &number;
	int version = 1;

	if (argc != 4)
		return 2;
	if (strcmp(argv[2], "host") == 0) {
		number = ntohl(inet_addr(argv[3]));
	} else if (strcmp(argv[2], "network") == 0) {
		number = inet_addr(argv[3]);
	} else {
		if (inet_pton(AF_INET6, argv[3], octets) != 1)
			return 2;
		version = 2;
		argument = octets;
		encode = strcmp(argv[2], "opaque") == 0 ? (xdrproc_t)xdr_octets : (xdrproc_t)xdr_each;
	}

	CLIENT *server = clnt_create(argv[1], DRAC, version, "datagram_v");
	if (server == NULL) {
		clnt_pcreateerror("no server");
		return 1;
	}
	if (clnt_call(server, ADD, encode, argument, (xdrproc_t)xdr_enum, (char *)&status, wait) != RPC_SUCCESS) {
		clnt_perror(server, "no answer");
		return 1;
	}
	clnt_destroy(server);
	printf("%d\n", status);
	return 0;
}
