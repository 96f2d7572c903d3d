
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/crypto.h>

#include "ngx_gcs_credentials.h"
#include "ngx_gcs_crypto.h"


static ngx_int_t ngx_gcs_credentials_id_subject(ngx_array_t *fields,
    ngx_gcs_credentials_t *cred);
static ngx_int_t ngx_gcs_credentials_id_accounts(ngx_array_t *fields,
    ngx_array_t *impersonations);
static ngx_int_t ngx_gcs_credentials_id_aws(ngx_array_t *fields,
    ngx_gcs_aws_environment_t *aws);
static ngx_int_t ngx_gcs_credentials_id_list(ngx_array_t *fields,
    ngx_array_t *list);
static ngx_int_t ngx_gcs_credentials_id_add(ngx_array_t *fields,
    ngx_str_t *value);


/* each field after its length, so that no two lists of fields look alike */

ngx_int_t
ngx_gcs_credentials_fingerprint(ngx_pool_t *pool, ngx_gcs_credentials_t *cred,
    u_char *digest)
{
    size_t                     len;
    u_char                    *p;
    ngx_int_t                  rc;
    ngx_str_t                  der, text, type, set, *field;
    ngx_uint_t                 i;
    ngx_array_t                fields;

    ngx_str_null(&der);

    if (cred->key != NULL
        && ngx_gcs_crypto_public_key(pool, cred->key, &der) != NGX_OK)
    {
        return NGX_ERROR;
    }

    type.len = sizeof(ngx_uint_t);
    type.data = (u_char *) &cred->type;

    /* a login is asked for a scope only if a directive says so */

    ngx_str_null(&set);

    if (cred->scope_set
        && cred->impersonations.nelts == 0
        && (cred->type == NGX_GCS_AUTHORIZED_USER
            || cred->type == NGX_GCS_EXTERNAL_USER))
    {
        ngx_str_set(&set, "set");
    }

    if (ngx_array_init(&fields, pool, 64, sizeof(ngx_str_t)) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &type) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->client_email) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->private_key_id)
           != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &der) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->client_id) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->client_secret) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->refresh_token) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->audience) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->user_project) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->token_uri) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->sts_uri) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->iam_uri) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->metadata_host) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &cred->scope) != NGX_OK
        || ngx_gcs_credentials_id_add(&fields, &set) != NGX_OK
        || ngx_gcs_credentials_id_subject(&fields, cred) != NGX_OK
        || ngx_gcs_credentials_id_accounts(&fields, &cred->impersonations)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    len = 0;
    field = fields.elts;

    for (i = 0; i < fields.nelts; i++) {
        len += sizeof(size_t) + field[i].len;
    }

    text.len = len;
    text.data = ngx_pnalloc(pool, len);
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    p = text.data;

    for (i = 0; i < fields.nelts; i++) {
        p = ngx_cpymem(p, &field[i].len, sizeof(size_t));

        if (field[i].len) {
            p = ngx_cpymem(p, field[i].data, field[i].len);
        }
    }

    rc = ngx_gcs_crypto_sha256(&text, digest);

    OPENSSL_cleanse(text.data, text.len);

    return rc;
}


static ngx_int_t
ngx_gcs_credentials_id_subject(ngx_array_t *fields,
    ngx_gcs_credentials_t *cred)
{
    ngx_str_t           from;
    ngx_gcs_subject_t  *subject;

    subject = &cred->subject;

    from.len = sizeof(ngx_uint_t);
    from.data = (u_char *) &subject->from;

    if (ngx_gcs_credentials_id_add(fields, &from) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &subject->type) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &subject->file) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &subject->url) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &subject->member) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &subject->session_url) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &subject->region_url) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &subject->verification_url)
           != NGX_OK
        || ngx_gcs_credentials_id_list(fields, subject->headers) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (subject->from != NGX_GCS_SUBJECT_AWS || cred->aws == NULL) {
        return NGX_OK;
    }

    return ngx_gcs_credentials_id_aws(fields, cred->aws);
}


static ngx_int_t
ngx_gcs_credentials_id_accounts(ngx_array_t *fields,
    ngx_array_t *impersonations)
{
    ngx_str_t                 lifetime;
    ngx_uint_t                i;
    ngx_gcs_impersonation_t  *imp;

    imp = impersonations->elts;

    for (i = 0; i < impersonations->nelts; i++) {
        lifetime.len = sizeof(time_t);
        lifetime.data = (u_char *) &imp[i].lifetime;

        if (ngx_gcs_credentials_id_add(fields, &imp[i].email) != NGX_OK
            || ngx_gcs_credentials_id_add(fields, &lifetime) != NGX_OK
            || ngx_gcs_credentials_id_list(fields, imp[i].delegates)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_credentials_id_aws(ngx_array_t *fields,
    ngx_gcs_aws_environment_t *aws)
{
    if (ngx_gcs_credentials_id_add(fields, &aws->keys.access_key_id) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &aws->keys.session_token)
           != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &aws->region) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &aws->role_arn) != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &aws->web_identity_token_file)
           != NGX_OK
        || ngx_gcs_credentials_id_add(fields, &aws->container_url) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_credentials_id_list(ngx_array_t *fields, ngx_array_t *list)
{
    ngx_str_t   number, *item;
    ngx_uint_t  i, n;

    n = list ? list->nelts : 0;
    item = list ? list->elts : NULL;

    /* how many there are is told by an empty field after the last */

    ngx_str_null(&number);

    for (i = 0; i < n; i++) {
        if (ngx_gcs_credentials_id_add(fields, &item[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return ngx_gcs_credentials_id_add(fields, &number);
}


static ngx_int_t
ngx_gcs_credentials_id_add(ngx_array_t *fields, ngx_str_t *value)
{
    ngx_str_t  *field;

    field = ngx_array_push(fields);
    if (field == NULL) {
        return NGX_ERROR;
    }

    *field = *value;

    return NGX_OK;
}
