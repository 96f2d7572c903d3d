
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_aws.h"
#include "ngx_gcs_crypto.h"


/* no answer is ever that large, bytes, or that deep, elements */
#define NGX_GCS_AWS_XML_MAX     65536
#define NGX_GCS_AWS_XML_DEPTH   8

#define ngx_gcs_aws_xml_blank(ch)                                             \
    ((ch) == ' ' || (ch) == '\t' || (ch) == '\r' || (ch) == '\n')


/* the elements whose text is wanted */

typedef enum {
    NGX_GCS_AWS_XML_ID = 0,
    NGX_GCS_AWS_XML_SECRET,
    NGX_GCS_AWS_XML_TOKEN,
    NGX_GCS_AWS_XML_CODE,
    NGX_GCS_AWS_XML_FIELDS
} ngx_gcs_aws_xml_e;


typedef struct {
    u_char       *p;
    u_char       *last;
    ngx_str_t     stack[NGX_GCS_AWS_XML_DEPTH];
    ngx_uint_t    depth;
    ngx_uint_t    done;                       /* the root has ended */
    u_char       *text;                       /* of a leaf, or NULL */
    ngx_str_t     fields[NGX_GCS_AWS_XML_FIELDS];
} ngx_gcs_aws_xml_t;


typedef struct {
    ngx_str_t     code;
    char         *text;
} ngx_gcs_aws_error_t;


static ngx_int_t ngx_gcs_aws_xml_parse(ngx_gcs_aws_xml_t *xml);
static ngx_int_t ngx_gcs_aws_xml_tag(ngx_gcs_aws_xml_t *xml);
static ngx_int_t ngx_gcs_aws_xml_declaration(ngx_gcs_aws_xml_t *xml);
static ngx_int_t ngx_gcs_aws_xml_start(ngx_gcs_aws_xml_t *xml);
static ngx_int_t ngx_gcs_aws_xml_attribute(ngx_gcs_aws_xml_t *xml);
static ngx_int_t ngx_gcs_aws_xml_end(ngx_gcs_aws_xml_t *xml);
static ngx_int_t ngx_gcs_aws_xml_close(ngx_gcs_aws_xml_t *xml, u_char *end);
static ngx_int_t ngx_gcs_aws_xml_name(ngx_gcs_aws_xml_t *xml, ngx_str_t *name);
static void ngx_gcs_aws_xml_skip(ngx_gcs_aws_xml_t *xml);
static ngx_uint_t ngx_gcs_aws_xml_field(ngx_gcs_aws_xml_t *xml);
static ngx_int_t ngx_gcs_aws_xml_decode(ngx_pool_t *pool, ngx_str_t *value);
static u_char *ngx_gcs_aws_xml_entity(u_char *p, u_char *last, u_char *ch);
static u_char *ngx_gcs_aws_xml_number(u_char *p, u_char *last, u_char *ch);
static char *ngx_gcs_aws_xml_error(ngx_str_t *code);


static char  *ngx_gcs_aws_xml_paths[NGX_GCS_AWS_XML_FIELDS][4] = {

    { "AssumeRoleWithWebIdentityResponse", "AssumeRoleWithWebIdentityResult",
      "Credentials", "AccessKeyId" },

    { "AssumeRoleWithWebIdentityResponse", "AssumeRoleWithWebIdentityResult",
      "Credentials", "SecretAccessKey" },

    { "AssumeRoleWithWebIdentityResponse", "AssumeRoleWithWebIdentityResult",
      "Credentials", "SessionToken" },

    { "ErrorResponse", "Error", "Code", NULL }
};


static ngx_gcs_aws_error_t  ngx_gcs_aws_errors[] = {

    { ngx_string("AccessDenied"),
      "AWS denies AssumeRoleWithWebIdentity (AccessDenied), does the trust "
      "policy of the role name this service account?" },

    { ngx_string("ExpiredTokenException"),
      "the web identity token has expired (ExpiredTokenException)" },

    { ngx_string("InvalidIdentityToken"),
      "AWS refuses the web identity token (InvalidIdentityToken), is its "
      "issuer an OIDC provider in IAM?" },

    { ngx_string("IDPCommunicationError"),
      "AWS cannot reach the issuer of the web identity token "
      "(IDPCommunicationError)" },

    { ngx_string("IDPRejectedClaim"),
      "the issuer of the web identity token rejects it (IDPRejectedClaim)" },

    { ngx_string("RegionDisabledException"),
      "AWS STS is not active in this region (RegionDisabledException)" },

    { ngx_string("ValidationError"),
      "AWS refuses the role or the name of the session (ValidationError)" },

    { ngx_null_string, NULL }
};


ngx_int_t
ngx_gcs_aws_parse_assumed(ngx_pool_t *pool, ngx_str_t *xml,
    ngx_gcs_aws_keys_t *keys, char **err)
{
    ngx_int_t            rc;
    ngx_uint_t           i;
    ngx_gcs_aws_xml_t    ctx;
    ngx_gcs_aws_keys_t   found;

    if (xml->len == 0 || xml->len > NGX_GCS_AWS_XML_MAX) {
        *err = "the answer is empty or too large";
        return NGX_DECLINED;
    }

    ngx_memzero(&ctx, sizeof(ngx_gcs_aws_xml_t));

    ctx.p = xml->data;
    ctx.last = xml->data + xml->len;

    if (ngx_gcs_aws_xml_parse(&ctx) != NGX_OK) {
        *err = "the answer is not valid XML";
        return NGX_DECLINED;
    }

    if (ctx.fields[NGX_GCS_AWS_XML_CODE].data) {
        *err = ngx_gcs_aws_xml_error(&ctx.fields[NGX_GCS_AWS_XML_CODE]);
        return NGX_DECLINED;
    }

    for (i = 0; i < NGX_GCS_AWS_XML_CODE; i++) {

        if (ctx.fields[i].len == 0) {
            *err = "there are no complete \"Credentials\" in the answer";
            return NGX_DECLINED;
        }

        rc = ngx_gcs_aws_xml_decode(pool, &ctx.fields[i]);

        if (rc == NGX_ERROR) {
            *err = "no memory";
            return NGX_ERROR;
        }

        if (rc == NGX_DECLINED) {
            *err = "there is an invalid entity in the answer";
            return NGX_DECLINED;
        }
    }

    found.access_key_id = ctx.fields[NGX_GCS_AWS_XML_ID];
    found.secret_access_key = ctx.fields[NGX_GCS_AWS_XML_SECRET];
    found.session_token = ctx.fields[NGX_GCS_AWS_XML_TOKEN];

    if (ngx_gcs_aws_check_keys(&found) != NGX_OK) {
        *err = "a key in the answer has an invalid character or length";
        return NGX_DECLINED;
    }

    *keys = found;

    return NGX_OK;
}


/*
 * Reads the XML that AWS writes: elements, attributes and text, after an XML
 * declaration perhaps.  All else, a DOCTYPE most of all, is an error.
 */

static ngx_int_t
ngx_gcs_aws_xml_parse(ngx_gcs_aws_xml_t *xml)
{
    if (ngx_gcs_aws_xml_declaration(xml) != NGX_OK) {
        return NGX_ERROR;
    }

    while (xml->p < xml->last) {

        if (*xml->p == '<') {

            if (ngx_gcs_aws_xml_tag(xml) != NGX_OK) {
                return NGX_ERROR;
            }

        } else {

            if (xml->depth == 0 && !ngx_gcs_aws_xml_blank(*xml->p)) {
                return NGX_ERROR;
            }

            xml->p++;
        }
    }

    return xml->done ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_gcs_aws_xml_declaration(ngx_gcs_aws_xml_t *xml)
{
    if (xml->last - xml->p < 5 || ngx_memcmp(xml->p, "<?xml", 5) != 0) {
        return NGX_OK;
    }

    while (xml->p < xml->last && *xml->p != '>') {
        xml->p++;
    }

    if (xml->p == xml->last || xml->p[-1] != '?') {
        return NGX_ERROR;
    }

    xml->p++;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_aws_xml_tag(ngx_gcs_aws_xml_t *xml)
{
    /* the character behind "<", if there is one */

    xml->p++;

    if (xml->p < xml->last && *xml->p == '/') {
        return ngx_gcs_aws_xml_end(xml);
    }

    return ngx_gcs_aws_xml_start(xml);
}


static ngx_int_t
ngx_gcs_aws_xml_start(ngx_gcs_aws_xml_t *xml)
{
    if (xml->done || xml->depth == NGX_GCS_AWS_XML_DEPTH
        || ngx_gcs_aws_xml_name(xml, &xml->stack[xml->depth]) != NGX_OK)
    {
        return NGX_ERROR;
    }

    xml->depth++;

    for ( ;; ) {

        ngx_gcs_aws_xml_skip(xml);

        if (xml->p == xml->last) {
            return NGX_ERROR;
        }

        if (*xml->p == '>') {
            xml->text = ++xml->p;
            return NGX_OK;
        }

        if (*xml->p == '/') {
            break;
        }

        if (ngx_gcs_aws_xml_attribute(xml) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    xml->p++;

    if (xml->p == xml->last || *xml->p != '>') {
        return NGX_ERROR;
    }

    xml->text = ++xml->p;

    return ngx_gcs_aws_xml_close(xml, xml->p);
}


static ngx_int_t
ngx_gcs_aws_xml_attribute(ngx_gcs_aws_xml_t *xml)
{
    u_char     quote;
    ngx_str_t  name;

    if (!ngx_gcs_aws_xml_blank(xml->p[-1])
        || ngx_gcs_aws_xml_name(xml, &name) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_gcs_aws_xml_skip(xml);

    if (xml->p == xml->last || *xml->p != '=') {
        return NGX_ERROR;
    }

    xml->p++;

    ngx_gcs_aws_xml_skip(xml);

    if (xml->p == xml->last || (*xml->p != '"' && *xml->p != '\'')) {
        return NGX_ERROR;
    }

    quote = *xml->p++;

    while (xml->p < xml->last && *xml->p != quote && *xml->p != '<') {
        xml->p++;
    }

    if (xml->p == xml->last || *xml->p != quote) {
        return NGX_ERROR;
    }

    xml->p++;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_aws_xml_end(ngx_gcs_aws_xml_t *xml)
{
    u_char     *end;
    ngx_str_t   name, *open;

    end = xml->p - 1;

    xml->p++;

    if (xml->depth == 0 || ngx_gcs_aws_xml_name(xml, &name) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_gcs_aws_xml_skip(xml);

    if (xml->p == xml->last || *xml->p != '>') {
        return NGX_ERROR;
    }

    xml->p++;

    open = &xml->stack[xml->depth - 1];

    if (name.len != open->len
        || ngx_memcmp(name.data, open->data, name.len) != 0)
    {
        return NGX_ERROR;
    }

    return ngx_gcs_aws_xml_close(xml, end);
}


/* ends the innermost element; a field that comes twice is ambiguous */

static ngx_int_t
ngx_gcs_aws_xml_close(ngx_gcs_aws_xml_t *xml, u_char *end)
{
    ngx_str_t   *field;
    ngx_uint_t   i;

    if (xml->text) {
        i = ngx_gcs_aws_xml_field(xml);

        if (i < NGX_GCS_AWS_XML_FIELDS) {
            field = &xml->fields[i];

            if (field->data) {
                return NGX_ERROR;
            }

            field->data = xml->text;
            field->len = end - xml->text;

            ngx_gcs_aws_trim(field);
        }
    }

    /* what surrounds this element is no leaf */

    xml->text = NULL;
    xml->depth--;

    if (xml->depth == 0) {
        xml->done = 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_aws_xml_name(ngx_gcs_aws_xml_t *xml, ngx_str_t *name)
{
    u_char  c, ch;

    name->data = xml->p;

    for ( /* void */ ; xml->p < xml->last; xml->p++) {
        ch = *xml->p;
        c = (u_char) (ch | 0x20);

        if ((c >= 'a' && c <= 'z') || ch == '_') {
            continue;
        }

        if (xml->p == name->data
            || ((ch < '0' || ch > '9') && ch != '-' && ch != '.'
                && ch != ':'))
        {
            break;
        }
    }

    name->len = xml->p - name->data;

    return name->len ? NGX_OK : NGX_ERROR;
}


static void
ngx_gcs_aws_xml_skip(ngx_gcs_aws_xml_t *xml)
{
    while (xml->p < xml->last && ngx_gcs_aws_xml_blank(*xml->p)) {
        xml->p++;
    }
}


/* which field the innermost element is */

static ngx_uint_t
ngx_gcs_aws_xml_field(ngx_gcs_aws_xml_t *xml)
{
    char        *name;
    ngx_uint_t   i, n;

    for (i = 0; i < NGX_GCS_AWS_XML_FIELDS; i++) {

        for (n = 0; n < 4; n++) {
            name = ngx_gcs_aws_xml_paths[i][n];

            if (name == NULL || n == xml->depth
                || ngx_strlen(name) != xml->stack[n].len
                || ngx_memcmp(name, xml->stack[n].data, xml->stack[n].len)
                   != 0)
            {
                break;
            }
        }

        if (n == xml->depth
            && (n == 4 || ngx_gcs_aws_xml_paths[i][n] == NULL))
        {
            break;
        }
    }

    return i;
}


/* replaces value by a copy of its own with the entities decoded */

static ngx_int_t
ngx_gcs_aws_xml_decode(ngx_pool_t *pool, ngx_str_t *value)
{
    u_char     *p, *src, *last;
    ngx_str_t  *secret;

    secret = ngx_gcs_crypto_secret(pool, value->len);
    if (secret == NULL) {
        return NGX_ERROR;
    }

    p = secret->data;
    src = value->data;
    last = src + value->len;

    while (src < last) {

        if (*src != '&') {
            *p++ = *src++;
            continue;
        }

        src = ngx_gcs_aws_xml_entity(src + 1, last, p);

        if (src == NULL) {
            return NGX_DECLINED;
        }

        p++;
    }

    /* the cleanup wipes all of secret, value is the part in use */

    value->len = p - secret->data;
    value->data = secret->data;

    return NGX_OK;
}


/* p is behind "&"; returns what is behind ";" or NULL */

static u_char *
ngx_gcs_aws_xml_entity(u_char *p, u_char *last, u_char *ch)
{
    size_t             len;
    ngx_uint_t         i;
    static u_char      chars[] = "&<>\"'";
    static ngx_str_t   names[] = {
        ngx_string("amp;"),
        ngx_string("lt;"),
        ngx_string("gt;"),
        ngx_string("quot;"),
        ngx_string("apos;")
    };

    len = last - p;

    if (len && *p == '#') {
        return ngx_gcs_aws_xml_number(p + 1, last, ch);
    }

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {

        if (len >= names[i].len
            && ngx_memcmp(p, names[i].data, names[i].len) == 0)
        {
            *ch = chars[i];
            return p + names[i].len;
        }
    }

    return NULL;
}


/* a number of ASCII, decimal or after an "x" hexadecimal */

static u_char *
ngx_gcs_aws_xml_number(u_char *p, u_char *last, u_char *ch)
{
    u_char      c, *start;
    ngx_uint_t  n, base;

    base = 10;

    if (p < last && *p == 'x') {
        base = 16;
        p++;
    }

    n = 0;

    for (start = p; p < last && *p != ';'; p++) {
        c = (u_char) (*p | 0x20);

        if (*p >= '0' && *p <= '9') {
            n = n * base + (*p - '0');

        } else if (base == 16 && c >= 'a' && c <= 'f') {
            n = n * base + (c - 'a' + 10);

        } else {
            return NULL;
        }

        if (n >= 0x7f) {
            return NULL;
        }
    }

    if (p == start || p == last || n == 0) {
        return NULL;
    }

    *ch = (u_char) n;

    return p + 1;
}


static char *
ngx_gcs_aws_xml_error(ngx_str_t *code)
{
    ngx_gcs_aws_error_t  *error;

    for (error = ngx_gcs_aws_errors; error->text; error++) {

        if (error->code.len == code->len
            && ngx_memcmp(error->code.data, code->data, code->len) == 0)
        {
            return error->text;
        }
    }

    return "AWS STS answers with an error";
}
