
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * Workload identity federation by directives instead of a credential file:
 * the five fields of Label Studio's form, and where the subject token is.
 */


#define NGX_HTTP_GCS_AWS_KEYS     "/latest/meta-data/iam/security-credentials"
#define NGX_HTTP_GCS_AWS_ZONE                                                 \
    "/latest/meta-data/placement/availability-zone"
#define NGX_HTTP_GCS_AWS_SESSION  "/latest/api/token"

#define NGX_HTTP_GCS_AWS_VERIFICATION                                         \
    "https://sts.{region}.amazonaws.com"                                      \
    "?Action=GetCallerIdentity&Version=2011-06-15"


static char *ngx_http_gcs_subject_aws(ngx_conf_t *cf,
    ngx_http_gcs_block_t *block);
static char *ngx_http_gcs_subject_member(ngx_conf_t *cf, ngx_str_t *value,
    ngx_gcs_subject_t *subject);
static ngx_uint_t ngx_http_gcs_name_valid(ngx_str_t *name, ngx_uint_t digits);


/* "subject_token aws | file:PATH[#member] | url:URL[#member]" */

char *
ngx_http_gcs_subject(ngx_conf_t *cf, ngx_http_gcs_block_t *block)
{
    char               *rv;
    ngx_str_t          *value;
    ngx_gcs_subject_t  *subject;

    value = &block->subject_token;
    subject = &block->identity->source.preset.subject;

    if (value->len == 0) {

        if (subject->headers || block->subject_token_type.len) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"subject_token_header\" and "
                               "\"subject_token_type\" of \"gcs_credentials\" "
                               "\"%V\" require \"subject_token\"",
                               &block->identity->name);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if (block->file.len == 0) {

        /* else it is that of the file */

        ngx_str_set(&subject->type, NGX_GCS_SUBJECT_TYPE_JWT);
    }

    if (ngx_strncmp(value->data, "file:/", sizeof("file:/") - 1) == 0) {

        subject->from = NGX_GCS_SUBJECT_FILE;
        subject->file.data = value->data + sizeof("file:") - 1;
        subject->file.len = value->len - (sizeof("file:") - 1);

        rv = ngx_http_gcs_subject_member(cf, &subject->file, subject);

    } else if (ngx_strncmp(value->data, "url:", sizeof("url:") - 1) == 0) {

        subject->from = NGX_GCS_SUBJECT_URL;
        subject->url.data = value->data + sizeof("url:") - 1;
        subject->url.len = value->len - (sizeof("url:") - 1);

        rv = ngx_http_gcs_subject_member(cf, &subject->url, subject);

        if (rv == NGX_CONF_OK
            && !ngx_gcs_credentials_url_secure(&subject->url)
            && !ngx_gcs_credentials_url_local(&subject->url))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid URL \"%V\" in \"subject_token\" of "
                               "\"gcs_credentials\" \"%V\"; it must be https, "
                               "or http to a loopback or metadata address",
                               &subject->url, &block->identity->name);
            return NGX_CONF_ERROR;
        }

    } else if (ngx_strcmp(value->data, "aws") == 0) {

        rv = ngx_http_gcs_subject_aws(cf, block);

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"subject_token\" of "
                           "\"gcs_credentials\" \"%V\"; it must be \"aws\", "
                           "\"file:/PATH\" or \"url:URL\"",
                           value, &block->identity->name);
        return NGX_CONF_ERROR;
    }

    if (subject->headers && subject->from != NGX_GCS_SUBJECT_URL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"subject_token_header\" of \"gcs_credentials\" "
                           "\"%V\" requires \"subject_token url:URL\"",
                           &block->identity->name);
        return NGX_CONF_ERROR;
    }

    if (block->subject_token_type.len) {
        subject->type = block->subject_token_type;
    }

    return rv;
}


static char *
ngx_http_gcs_subject_aws(ngx_conf_t *cf, ngx_http_gcs_block_t *block)
{
    u_char                     *p;
    ngx_str_t                  *base;
    ngx_gcs_subject_t          *subject;
    ngx_gcs_aws_environment_t  *aws;

    aws = ngx_http_gcs_environment_aws(cf, block->gmcf);
    if (aws == NULL) {
        return NGX_CONF_ERROR;
    }

    subject = &block->identity->source.preset.subject;
    base = &aws->metadata_url;

    subject->from = NGX_GCS_SUBJECT_AWS;

    ngx_str_set(&subject->type, NGX_GCS_SUBJECT_TYPE_AWS);
    ngx_str_set(&subject->verification_url, NGX_HTTP_GCS_AWS_VERIFICATION);

    p = ngx_pnalloc(cf->pool,
                    3 * base->len + sizeof(NGX_HTTP_GCS_AWS_KEYS)
                    + sizeof(NGX_HTTP_GCS_AWS_ZONE)
                    + sizeof(NGX_HTTP_GCS_AWS_SESSION));
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    subject->url.data = p;
    p = ngx_sprintf(p, "%V" NGX_HTTP_GCS_AWS_KEYS, base);
    subject->url.len = p - subject->url.data;

    subject->region_url.data = p;
    p = ngx_sprintf(p, "%V" NGX_HTTP_GCS_AWS_ZONE, base);
    subject->region_url.len = p - subject->region_url.data;

    subject->session_url.data = p;
    p = ngx_sprintf(p, "%V" NGX_HTTP_GCS_AWS_SESSION, base);
    subject->session_url.len = p - subject->session_url.data;

    return NGX_CONF_OK;
}


/* takes "#member" off value, and ends what is left with '\0' */

static char *
ngx_http_gcs_subject_member(ngx_conf_t *cf, ngx_str_t *value,
    ngx_gcs_subject_t *subject)
{
    u_char     *p;
    ngx_str_t   text;

    text = *value;

    p = ngx_strlchr(text.data, text.data + text.len, '#');

    if (p) {
        subject->member.data = p + 1;
        subject->member.len = text.data + text.len - (p + 1);

        text.len = p - text.data;
    }

    value->data = ngx_pnalloc(cf->pool, text.len + 1);
    if (value->data == NULL) {
        return NGX_CONF_ERROR;
    }

    *ngx_cpymem(value->data, text.data, text.len) = '\0';
    value->len = text.len;

    return NGX_CONF_OK;
}


/* "subject_token_header NAME VALUE" */

char *
ngx_http_gcs_subject_header(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_block_t *block = conf;

    u_char             *p;
    ngx_str_t          *value, *header;
    ngx_gcs_subject_t  *subject;

    value = cf->args->elts;
    subject = &block->identity->source.preset.subject;

    if (!ngx_gcs_aws_word(&value[1])
        || ngx_strlchr(value[1].data, value[1].data + value[1].len, ':'))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid header name \"%V\" in \"%V\" directive",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    for (p = value[2].data; p < value[2].data + value[2].len; p++) {
        if (*p < ' ' || *p >= 0x7f) {
            return "has a control or non-ASCII character in the value";
        }
    }

    if (subject->headers == NULL) {
        subject->headers = ngx_array_create(cf->pool, 2, sizeof(ngx_str_t));
        if (subject->headers == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    header = ngx_array_push(subject->headers);
    if (header == NULL) {
        return NGX_CONF_ERROR;
    }

    header->len = value[1].len + sizeof(": ") - 1 + value[2].len;

    header->data = ngx_pnalloc(cf->pool, header->len);
    if (header->data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_sprintf(header->data, "%V: %V", &value[1], &value[2]);

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_federation(ngx_conf_t *cf, ngx_http_gcs_block_t *block)
{
    char                     *missing;
    ngx_str_t                *audience;
    ngx_gcs_credentials_t    *preset;
    ngx_gcs_impersonation_t  *imp;

    preset = &block->identity->source.preset;

    missing = block->pool.len == 0 ? "workload_identity_pool"
              : block->provider.len == 0 ? "workload_identity_provider"
              : block->project_number.len == 0 ? "project_number"
              : block->subject_token.len == 0 ? "subject_token"
              : NULL;

    if (missing) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"%s\" in \"gcs_credentials\" \"%V\"",
                           missing, &block->identity->name);
        return NGX_CONF_ERROR;
    }

    if (!ngx_http_gcs_name_valid(&block->project_number, 1)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"project_number\" \"%V\" in "
                           "\"gcs_credentials\" \"%V\"; it is a number, not "
                           "the project's ID, see \"gcloud projects describe "
                           "ID --format='value(projectNumber)'\"",
                           &block->project_number, &block->identity->name);
        return NGX_CONF_ERROR;
    }

    if (!ngx_http_gcs_name_valid(&block->pool, 0)
        || !ngx_http_gcs_name_valid(&block->provider, 0))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"workload_identity_pool\" \"%V\" or "
                           "\"workload_identity_provider\" \"%V\" in "
                           "\"gcs_credentials\" \"%V\"; their IDs have lower-"
                           "case letters, digits and hyphens",
                           &block->pool, &block->provider,
                           &block->identity->name);
        return NGX_CONF_ERROR;
    }

    preset->type = NGX_GCS_EXTERNAL_ACCOUNT;
    preset->project_id = block->project_id;

    audience = &preset->audience;

    audience->data = ngx_pnalloc(cf->pool,
                                 sizeof("//iam.googleapis.com/projects//"
                                        "locations/global/"
                                        "workloadIdentityPools//providers/")
                                 + block->project_number.len
                                 + block->pool.len + block->provider.len);
    if (audience->data == NULL) {
        return NGX_CONF_ERROR;
    }

    audience->len = ngx_sprintf(audience->data,
                                "//iam.googleapis.com/projects/%V/locations/"
                                "global/workloadIdentityPools/%V/providers/%V",
                                &block->project_number, &block->pool,
                                &block->provider)
                    - audience->data;

    if (block->service_account.len == 0) {
        return NGX_CONF_OK;
    }

    if (!ngx_http_gcs_email_valid(&block->service_account)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"service_account\" \"%V\" in "
                           "\"gcs_credentials\" \"%V\"; an e-mail address is "
                           "needed",
                           &block->service_account, &block->identity->name);
        return NGX_CONF_ERROR;
    }

    if (ngx_array_init(&preset->impersonations, cf->pool, 2,
                       sizeof(ngx_gcs_impersonation_t))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    imp = ngx_array_push(&preset->impersonations);
    if (imp == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(imp, sizeof(ngx_gcs_impersonation_t));

    imp->email = block->service_account;
    imp->lifetime = 3600;

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_gcs_name_valid(ngx_str_t *name, ngx_uint_t digits)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if ((ch >= '0' && ch <= '9')
            || (!digits && ((ch >= 'a' && ch <= 'z') || ch == '-')))
        {
            continue;
        }

        return 0;
    }

    return 1;
}


/* what may stand in the path of a URL: "a@b", nothing that is escaped */

ngx_uint_t
ngx_http_gcs_email_valid(ngx_str_t *email)
{
    u_char  c, ch;
    size_t  i, at;

    at = 0;

    for (i = 0; i < email->len; i++) {
        ch = email->data[i];
        c = (u_char) (ch | 0x20);

        if (ch == '@') {
            at++;
            continue;
        }

        if (!((c >= 'a' && c <= 'z') || (ch >= '0' && ch <= '9')
              || ch == '-' || ch == '.' || ch == '_' || ch == '+'
              || ch == ':'))
        {
            return 0;
        }
    }

    return at == 1 && email->data[0] != '@'
           && email->data[email->len - 1] != '@';
}
