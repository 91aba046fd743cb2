/*
 * A milter that does nothing, as cheaply as libmilter can: the floor that the
 * benches compare with. It wants the same events as posttrail-milterd (all but
 * the body), answers none of them but the end of the message, and asks for the
 * same macros. Usage: noop SOCKET
 */
#include <stdio.h>
#include <libmilter/mfapi.h>

#define SILENT(name, ...) static sfsistat name(__VA_ARGS__) { return SMFIS_NOREPLY; }

/* libmilter complains to syslog of each CONTINUE where no reply was negotiated. */
SILENT(on_connect, SMFICTX *c __attribute__((unused)), char *name __attribute__((unused)),
    _SOCK_ADDR *from __attribute__((unused)))
SILENT(on_helo, SMFICTX *c __attribute__((unused)), char *name __attribute__((unused)))
SILENT(on_args, SMFICTX *c __attribute__((unused)), char **args __attribute__((unused)))
SILENT(on_header, SMFICTX *c __attribute__((unused)), char *name __attribute__((unused)),
    char *value __attribute__((unused)))
SILENT(on_event, SMFICTX *c __attribute__((unused)))

static sfsistat on_end(SMFICTX *c)
{
    (void)c;
    return SMFIS_CONTINUE;
}

static sfsistat on_negotiate(SMFICTX *c, unsigned long f0, unsigned long f1, unsigned long f2,
    unsigned long f3, unsigned long *a, unsigned long *p, unsigned long *f4, unsigned long *f5)
{
    (void)f0; (void)f2; (void)f3;
    *a = SMFIF_SETSYMLIST;
    *p = f1 & (SMFIP_NOBODY | SMFIP_NOUNKNOWN | SMFIP_RCPT_REJ | SMFIP_NR_CONN | SMFIP_NR_HELO |
        SMFIP_NR_MAIL | SMFIP_NR_RCPT | SMFIP_NR_DATA | SMFIP_NR_HDR | SMFIP_NR_EOH);
    *f4 = *f5 = 0;
    smfi_setsymlist(c, SMFIM_CONNECT, "{client_port} {client_addr} {daemon_name}");
    smfi_setsymlist(c, SMFIM_HELO, "{tls_version} {cipher}");
    smfi_setsymlist(c, SMFIM_ENVFROM, "i {auth_authen} {auth_type}");
    smfi_setsymlist(c, SMFIM_ENVRCPT, "i {rcpt_mailer} {rcpt_host} {rcpt_addr}");
    smfi_setsymlist(c, SMFIM_DATA, "i");
    smfi_setsymlist(c, SMFIM_EOH, "");
    smfi_setsymlist(c, SMFIM_EOM, "");
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    struct smfiDesc desc = {
        .xxfi_name = "noop", .xxfi_version = SMFI_VERSION, .xxfi_flags = SMFIF_SETSYMLIST,
        .xxfi_connect = on_connect, .xxfi_helo = on_helo, .xxfi_envfrom = on_args,
        .xxfi_envrcpt = on_args, .xxfi_header = on_header, .xxfi_eoh = on_event,
        .xxfi_eom = on_end, .xxfi_abort = on_end, .xxfi_close = on_end,
        .xxfi_data = on_event, .xxfi_negotiate = on_negotiate,
    };
    if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(desc) != MI_SUCCESS) {
        fprintf(stderr, "usage: noop SOCKET\n");
        return 64;
    }
    return smfi_main() == MI_SUCCESS ? 0 : 69;
}
