
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_identity_signer(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf, ngx_http_gcs_identity_t *identity);


static ngx_str_t  ngx_http_gcs_anonymous = ngx_string("anonymous");
static ngx_str_t  ngx_http_gcs_default = ngx_string("default");
static ngx_str_t  ngx_http_gcs_signature = ngx_string("signature");


ngx_http_gcs_identity_t *
ngx_http_gcs_identity(ngx_http_gcs_main_conf_t *gmcf, ngx_str_t *name)
{
    ngx_uint_t                  i;
    ngx_http_gcs_identity_t   **identity;

    identity = gmcf->identities.elts;

    for (i = 0; i < gmcf->identities.nelts; i++) {

        if (identity[i]->name.len == name->len
            && ngx_strncmp(identity[i]->name.data, name->data, name->len) == 0)
        {
            return identity[i];
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_gcs_identity_init(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_http_gcs_identity_t  **identity;

    identity = ngx_array_push_n(&gmcf->identities, 2);
    if (identity == NULL) {
        return NGX_ERROR;
    }

    identity[0] = ngx_http_gcs_identity_create(cf, gmcf,
                                               &ngx_http_gcs_anonymous);
    identity[1] = ngx_http_gcs_identity_create(cf, gmcf,
                                               &ngx_http_gcs_signature);

    if (identity[0] == NULL || identity[1] == NULL) {
        return NGX_ERROR;
    }

    identity[1]->signature = 1;

    return NGX_OK;
}


ngx_http_gcs_identity_t *
ngx_http_gcs_identity_create(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf,
    ngx_str_t *name)
{
    ngx_http_gcs_identity_t  *identity;

    identity = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_identity_t));
    if (identity == NULL) {
        return NULL;
    }

    identity->name = *name;
    identity->fetch.timeout = 10000;

    identity->source.name = *name;
    identity->source.preset.aws = &gmcf->aws;

    return identity;
}


ngx_http_gcs_identity_t *
ngx_http_gcs_identity_default(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_http_gcs_identity_t  *identity, **element;

    identity = ngx_http_gcs_identity(gmcf, &ngx_http_gcs_default);

    if (identity) {
        return identity;
    }

    identity = ngx_http_gcs_identity_create(cf, gmcf, &ngx_http_gcs_default);

    if (identity == NULL) {
        return NULL;
    }

    identity->undeclared = 1;

    if (ngx_http_gcs_identity_search(cf, gmcf, identity) != NGX_CONF_OK) {
        return NULL;
    }

    element = ngx_array_push(&gmcf->identities);
    if (element == NULL) {
        return NULL;
    }

    *element = identity;

    return identity;
}


char *
ngx_http_gcs_identity_search(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf,
    ngx_http_gcs_identity_t *identity)
{
    identity->searched = 1;

    if (ngx_http_gcs_environment_default(cf, &identity->source)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_http_gcs_identity_load(cf, gmcf, identity);
}


char *
ngx_http_gcs_identity_load(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf,
    ngx_http_gcs_identity_t *identity)
{
    ngx_int_t          rc;
    ngx_str_t          err;
    ngx_gcs_source_t  *source;

    source = &identity->source;

    if (source->file.len
        && ngx_conf_full_name(cf->cycle, &source->file, 1) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    rc = ngx_gcs_source_load(cf->pool, source, &err);

    if (rc == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    if (rc == NGX_DECLINED && source->file.len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "gcs credentials \"%V\", file \"%V\": %V",
                           &identity->name, &source->file, &err);
        return NGX_CONF_ERROR;
    }

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "gcs credentials \"%V\": %V",
                           &identity->name, &err);
        return NGX_CONF_ERROR;
    }

    if (source->cred->subject.from == NGX_GCS_SUBJECT_AWS
        && ngx_http_gcs_environment_aws(cf, gmcf) == NULL)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_gcs_identity_tokens(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_uint_t                  i;
    ngx_gcs_source_t           *source;
    ngx_http_gcs_identity_t   **identity;

    identity = gmcf->identities.elts;

    for (i = 0; i < gmcf->identities.nelts; i++) {

        source = &identity[i]->source;

        if (source->cred == NULL) {

            /* "anonymous" and "signature" */

            continue;
        }

        if (source->cred->type == NGX_GCS_HMAC_KEY) {

            if (ngx_gcs_token_watch(&gmcf->tokens, source) != NGX_OK) {
                return NGX_ERROR;
            }

            continue;
        }

        /* least privilege: only who is asked to write gets the wider scope */

        if (identity[i]->writes && !source->preset.scope_set) {
            ngx_str_set(&source->preset.scope, NGX_GCS_SCOPE_WRITE);
            ngx_str_set(&source->cred->scope, NGX_GCS_SCOPE_WRITE);
        }

        identity[i]->token = ngx_gcs_token_add(cf, &gmcf->tokens, source,
                                               &identity[i]->fetch);
        if (identity[i]->token == NULL
            || ngx_http_gcs_identity_signer(cf, gmcf, identity[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return ngx_gcs_token_store_zone(cf, &gmcf->tokens,
                                    &ngx_http_gcs_proxy_module);
}


/* what its URLs are signed with: by IAM, or by its key in a thread */

static ngx_int_t
ngx_http_gcs_identity_signer(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf,
    ngx_http_gcs_identity_t *identity)
{
    u_char            *p;
    ngx_str_t          err;
    ngx_gcs_signer_t  *signer;
    ngx_gcs_source_t  *source;

    if (!identity->presigns) {
        return NGX_OK;
    }

    if (ngx_http_gcs_signs(identity) != NGX_HTTP_GCS_SIGNS_IAM) {

        if (gmcf->threads == NULL) {
            gmcf->threads = ngx_gcs_signing_threads(cf);
        }

        return NGX_OK;
    }

    signer = ngx_pcalloc(cf->pool, sizeof(ngx_gcs_signer_t));
    source = ngx_palloc(cf->pool, sizeof(ngx_gcs_source_t));
    p = ngx_pnalloc(cf->pool, identity->name.len + sizeof(" (signing)") - 1);

    if (signer == NULL || source == NULL || p == NULL) {
        return NGX_ERROR;
    }

    /* the same credential, but for the last account of its chain */

    *source = identity->source;

    source->preset.signing = 1;
    source->name.data = p;
    source->name.len = ngx_sprintf(p, "%V (signing)", &identity->name) - p;

    if (ngx_gcs_source_load(cf->pool, source, &err) != NGX_OK) {
        return NGX_ERROR;
    }

    signer->source = source;
    signer->conf = &identity->fetch;
    signer->name = &identity->name;

    signer->token = ngx_gcs_token_add(cf, &gmcf->tokens, source,
                                      &identity->fetch);
    if (signer->token == NULL) {
        return NGX_ERROR;
    }

    identity->signer = signer;

    return NGX_OK;
}


void
ngx_http_gcs_identity_notice(ngx_log_t *log, ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_uint_t                  i;
    ngx_gcs_source_t           *source;
    ngx_http_gcs_identity_t   **identity;

    identity = gmcf->identities.elts;

    for (i = 1; i < gmcf->identities.nelts; i++) {

        if (!identity[i]->searched) {
            continue;
        }

        source = &identity[i]->source;

        if (source->file.len) {
            ngx_log_error(NGX_LOG_NOTICE, log, 0,
                          "gcs credentials \"%V\": found file \"%V\"",
                          &identity[i]->name, &source->file);

        } else {
            ngx_log_error(NGX_LOG_NOTICE, log, 0,
                          "gcs credentials \"%V\": found no file, metadata "
                          "server \"%V\" will be asked",
                          &identity[i]->name, &source->cred->metadata_host);
        }
    }
}
