/*
 * The empty milter that the benchmark compares with: it asks for the macros and waives
 * the steps that milterd does, and continues at all others.
 *
 *	empty SOCKET ACTIONS STEPS
 *
 * ACTIONS and STEPS are the bits (SMFIF_*, SMFIP_*) that milterd negotiates.
 */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long actions, steps;

static sfsistat negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3,
	unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
	*pf0 = f0 & actions;
	*pf1 = f1 & steps;
	*pf2 = *pf3 = 0;
	smfi_setsymlist(ctx, SMFIM_CONNECT, "{client_addr} {client_name} {client_ptr} {client_resolve} {daemon_name} {daemon_port} {daemon_addr} {daemon_flags}");
	smfi_setsymlist(ctx, SMFIM_HELO, "{tls_version} {cipher} {cipher_bits} {verify} {cert_subject} {cert_issuer}");
	smfi_setsymlist(ctx, SMFIM_ENVFROM, "i {auth_type} {auth_authen} {auth_author} {auth_ssf} {mail_mailer} {mail_host} {mail_addr}");
	smfi_setsymlist(ctx, SMFIM_ENVRCPT, "{rcpt_mailer} {rcpt_host} {rcpt_addr}");
	return SMFIS_CONTINUE;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *addr) { return SMFIS_CONTINUE; }
static sfsistat on_helo(SMFICTX *ctx, char *name) { return SMFIS_CONTINUE; }
static sfsistat on_mail(SMFICTX *ctx, char **argv) { return SMFIS_CONTINUE; }
static sfsistat on_rcpt(SMFICTX *ctx, char **argv) { return SMFIS_CONTINUE; }
static sfsistat on_header(SMFICTX *ctx, char *name, char *value) { return SMFIS_CONTINUE; }
static sfsistat on_end(SMFICTX *ctx) { return SMFIS_CONTINUE; }

int main(int argc, char **argv)
{
	struct smfiDesc filter;

	if (argc != 4)
		return 64;
	actions = strtoul(argv[2], NULL, 0);
	steps = strtoul(argv[3], NULL, 0);
	memset(&filter, 0, sizeof filter);
	filter.xxfi_name = "empty";
	filter.xxfi_version = SMFI_VERSION;
	filter.xxfi_flags = actions;
	filter.xxfi_negotiate = negotiate;
	filter.xxfi_connect = on_connect;
	filter.xxfi_helo = on_helo;
	filter.xxfi_envfrom = on_mail;
	filter.xxfi_envrcpt = on_rcpt;
	filter.xxfi_header = on_header;
	filter.xxfi_eom = on_end;
	if (smfi_register(filter) != MI_SUCCESS || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_setbacklog(1024) != MI_SUCCESS)
		return 70;
	return smfi_main();
}
