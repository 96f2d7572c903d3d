
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_credentials.h"


/* What a credential has by default, whatever file or directive it is of. */


static ngx_int_t ngx_gcs_credentials_last(ngx_gcs_credentials_t *cred,
    ngx_str_t *err);
static ngx_int_t ngx_gcs_credentials_endpoint(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred, char *service, char *path, ngx_str_t *url);


ngx_int_t
ngx_gcs_credentials_complete(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    ngx_str_t *err)
{
    ngx_gcs_impersonation_t  *imp;

    if (cred->universe_domain.len == 0) {
        ngx_str_set(&cred->universe_domain, NGX_GCS_UNIVERSE);
    }

    if (cred->scope.len == 0) {
        ngx_str_set(&cred->scope, NGX_GCS_SCOPE_READ);
    }

    if (cred->metadata_host.len == 0) {
        ngx_str_set(&cred->metadata_host, NGX_GCS_METADATA_HOST);
    }

    if (cred->token_uri.len == 0) {

        if (cred->type == NGX_GCS_EXTERNAL_USER) {
            if (ngx_gcs_credentials_endpoint(pool, cred, "sts",
                                             "/v1/oauthtoken",
                                             &cred->token_uri)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

        } else if (cred->type == NGX_GCS_AUTHORIZED_USER
                   || ngx_gcs_credentials_google(cred))
        {
            /* another universe has none: keys sign their tokens there */

            ngx_str_set(&cred->token_uri, NGX_GCS_TOKEN_URI);
        }
    }

    if (cred->sts_uri.len == 0
        && ngx_gcs_credentials_endpoint(pool, cred, "sts", "/v1/token",
                                        &cred->sts_uri)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (cred->iam_uri.len == 0
        && ngx_gcs_credentials_endpoint(pool, cred, "iamcredentials", "",
                                        &cred->iam_uri)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (cred->impersonations.elts == NULL
        && ngx_array_init(&cred->impersonations, pool, 1,
                          sizeof(ngx_gcs_impersonation_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (cred->impersonate) {
        imp = ngx_array_push(&cred->impersonations);
        if (imp == NULL) {
            return NGX_ERROR;
        }

        *imp = *cred->impersonate;
    }

    return ngx_gcs_credentials_last(cred, err);
}


/* what is said of the last account of the chain */

static ngx_int_t
ngx_gcs_credentials_last(ngx_gcs_credentials_t *cred, ngx_str_t *err)
{
    ngx_gcs_impersonation_t  *imp;

    imp = NULL;

    if (cred->impersonations.nelts) {
        imp = cred->impersonations.elts;
        imp += cred->impersonations.nelts - 1;
    }

    if (cred->lifetime && imp == NULL) {
        ngx_str_set(err, "\"token_lifetime\" applies to tokens by "
                         "impersonation only");
        return NGX_DECLINED;
    }

    if (cred->lifetime) {
        imp->lifetime = cred->lifetime;
    }

    if (cred->signing) {
        ngx_str_set(&cred->scope, NGX_GCS_SCOPE_IAM);
        cred->scope_set = 0;

        if (imp) {
            cred->signer = imp;
            cred->impersonations.nelts--;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_credentials_endpoint(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    char *service, char *path, ngx_str_t *url)
{
    url->len = sizeof("https://.") - 1 + ngx_strlen(service)
               + cred->universe_domain.len + ngx_strlen(path);

    url->data = ngx_pnalloc(pool, url->len);
    if (url->data == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(url->data, "https://%s.%V%s", service, &cred->universe_domain,
                path);

    return NGX_OK;
}


ngx_uint_t
ngx_gcs_credentials_google(ngx_gcs_credentials_t *cred)
{
    return cred->universe_domain.len == sizeof(NGX_GCS_UNIVERSE) - 1
           && ngx_memcmp(cred->universe_domain.data, NGX_GCS_UNIVERSE,
                         sizeof(NGX_GCS_UNIVERSE) - 1)
              == 0;
}
