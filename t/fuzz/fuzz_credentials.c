
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include <openssl/err.h>

#include "ngx_gcs_credentials.h"
#include "ngx_gcs_crypto.h"


static ngx_str_t fuzz_file(ngx_pool_t *pool, const uint8_t *data, size_t size);
static void fuzz_credentials(ngx_pool_t *pool, ngx_gcs_credentials_t *cred);
static void fuzz_type(ngx_gcs_credentials_t *cred);
static void fuzz_subject(ngx_gcs_subject_t *subject);
static void fuzz_accounts(ngx_array_t *impersonations);
static void fuzz_endpoint(ngx_str_t *url);
static void fuzz_email(ngx_str_t *email);
static void fuzz_field(ngx_str_t *value);
static void fuzz_text(ngx_str_t *value);


/* the key as it stands in a JSON string: with \n as two characters */
static char       pem[4096];
static size_t     pem_len;

static ngx_str_t  domain = ngx_string("googleapis.com");


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    size_t       i;
    EVP_PKEY    *key;
    ngx_str_t    text;
    ngx_pool_t  *pool;

    pool = test_pool();

    /* short, to be fast */

    key = test_rsa(1024);
    text = test_pem(pool, key, TEST_PKCS8);
    EVP_PKEY_free(key);

    for (i = 0; i < text.len; i++) {

        if (text.data[i] == '\n') {
            pem[pem_len++] = '\\';
            pem[pem_len++] = 'n';

        } else {
            pem[pem_len++] = text.data[i];
        }
    }

    ngx_destroy_pool(pool);

    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_int_t                rc;
    ngx_str_t                file, err;
    ngx_pool_t              *pool;
    ngx_gcs_credentials_t    cred;

    pool = test_pool();
    file = fuzz_file(pool, data, size);

    ngx_memzero(&cred, sizeof(cred));
    ngx_str_null(&err);

    rc = ngx_gcs_credentials_parse(pool, &file, &cred, &err);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);
    fuzz_check(ERR_peek_error() == 0);

    if (rc == NGX_OK) {
        fuzz_credentials(pool, &cred);

    } else {
        fuzz_check(err.len > 0 && err.len <= 300);
        fuzz_check(!test_contains(&err, "PRIVATE KEY"));
        fuzz_text(&err);
    }

    ngx_destroy_pool(pool);

    return 0;
}


/* replaces the first "$KEY" by a key made for this run */

static ngx_str_t
fuzz_file(ngx_pool_t *pool, const uint8_t *data, size_t size)
{
    u_char         *p;
    size_t          head;
    ngx_str_t       file;
    const uint8_t  *mark;

    mark = size ? memmem(data, size, "$KEY", 4) : NULL;

    if (mark == NULL) {
        return test_bytes(pool, data, size);
    }

    head = mark - data;

    file.len = size - 4 + pem_len;
    file.data = ngx_pnalloc(pool, file.len);

    p = ngx_cpymem(file.data, data, head);
    p = ngx_cpymem(p, pem, pem_len);
    ngx_memcpy(p, mark + 4, size - head - 4);

    return file;
}


static void
fuzz_credentials(ngx_pool_t *pool, ngx_gcs_credentials_t *cred)
{
    u_char  digest[NGX_GCS_SHA256_LEN];

    fuzz_check(test_equal(&cred->universe_domain, "googleapis.com"));
    fuzz_check(test_equal(&cred->scope, NGX_GCS_SCOPE_READ));
    fuzz_check(test_equal(&cred->iam_uri,
                          "https://iamcredentials.googleapis.com"));
    fuzz_check(test_equal(&cred->metadata_host, NGX_GCS_METADATA_HOST));

    fuzz_endpoint(&cred->token_uri);
    fuzz_endpoint(&cred->sts_uri);

    fuzz_field(&cred->client_email);
    fuzz_field(&cred->private_key_id);
    fuzz_field(&cred->client_id);
    fuzz_field(&cred->client_secret);
    fuzz_field(&cred->refresh_token);
    fuzz_field(&cred->audience);
    fuzz_field(&cred->user_project);
    fuzz_field(&cred->project_id);
    fuzz_field(&cred->quota_project_id);

    fuzz_type(cred);
    fuzz_accounts(&cred->impersonations);

    fuzz_check(ngx_gcs_credentials_fingerprint(pool, cred, digest) == NGX_OK);
}


static void
fuzz_type(ngx_gcs_credentials_t *cred)
{
    fuzz_check((cred->subject.from == NGX_GCS_SUBJECT_NONE)
               == (cred->type != NGX_GCS_EXTERNAL_ACCOUNT));

    switch (cred->type) {

    case NGX_GCS_SERVICE_ACCOUNT:
        fuzz_check(cred->key != NULL);
        fuzz_email(&cred->client_email);
        break;

    case NGX_GCS_AUTHORIZED_USER:
        fuzz_check(test_equal(&cred->token_uri, NGX_GCS_TOKEN_URI));

        /* fall through */

    case NGX_GCS_EXTERNAL_USER:
        fuzz_check(cred->client_id.len && cred->client_secret.len
                   && cred->refresh_token.len);
        break;

    case NGX_GCS_EXTERNAL_ACCOUNT:
        fuzz_check(cred->audience.len > 6
                   && memcmp(cred->audience.data, "//iam.", 6) == 0);
        fuzz_check(cred->client_id.len == 0 || cred->client_secret.len);
        fuzz_subject(&cred->subject);
        break;

    default:
        fuzz_check(0);
    }
}


static void
fuzz_subject(ngx_gcs_subject_t *subject)
{
    ngx_str_t   *header;
    ngx_uint_t   i;

    fuzz_check(subject->type.len);

    fuzz_field(&subject->type);
    fuzz_field(&subject->file);
    fuzz_field(&subject->url);
    fuzz_field(&subject->member);

    switch (subject->from) {

    case NGX_GCS_SUBJECT_FILE:
    case NGX_GCS_SUBJECT_OUTPUT:
        fuzz_check(subject->file.len && subject->file.data[0] == '/');
        fuzz_check(subject->file.data[subject->file.len] == '\0');
        break;

    case NGX_GCS_SUBJECT_URL:
        fuzz_check(ngx_gcs_credentials_url_local(&subject->url)
                   || ngx_gcs_credentials_url_allowed(&subject->url,
                                                      &domain));
        break;

    default: /* NGX_GCS_SUBJECT_AWS */
        fuzz_check(subject->url.len == 0
                   || ngx_gcs_credentials_url_local(&subject->url));
        fuzz_check(subject->region_url.len == 0
                   || ngx_gcs_credentials_url_local(&subject->region_url));
        fuzz_check(subject->session_url.len == 0
                   || ngx_gcs_credentials_url_local(&subject->session_url));
        fuzz_check(subject->verification_url.len > 8
                   && memcmp(subject->verification_url.data, "https://", 8)
                      == 0);
        fuzz_field(&subject->verification_url);
    }

    header = subject->headers ? subject->headers->elts : NULL;

    for (i = 0; header && i < subject->headers->nelts; i++) {
        fuzz_check(test_contains(&header[i], ": "));
        fuzz_text(&header[i]);
    }
}


static void
fuzz_accounts(ngx_array_t *impersonations)
{
    ngx_str_t                *delegate;
    ngx_uint_t                i, j;
    ngx_gcs_impersonation_t  *imp;

    fuzz_check(impersonations->nelts <= 2);

    imp = impersonations->elts;

    for (i = 0; i < impersonations->nelts; i++) {
        fuzz_email(&imp[i].email);
        fuzz_check(imp[i].lifetime >= 600 && imp[i].lifetime <= 43200);

        if (imp[i].delegates) {
            delegate = imp[i].delegates->elts;

            for (j = 0; j < imp[i].delegates->nelts; j++) {
                fuzz_email(&delegate[j]);
            }
        }
    }
}


/* https, or this machine itself */

static void
fuzz_endpoint(ngx_str_t *url)
{
    fuzz_check(ngx_gcs_credentials_url_allowed(url, &domain));
    fuzz_check(ngx_gcs_credentials_url_secure(url));
}


static void
fuzz_email(ngx_str_t *email)
{
    fuzz_field(email);
    fuzz_check(test_contains(email, "@"));
}


static void
fuzz_field(ngx_str_t *value)
{
    fuzz_text(value);
    fuzz_check(!test_contains(value, " "));
}


static void
fuzz_text(ngx_str_t *value)
{
    size_t  i;

    for (i = 0; i < value->len; i++) {
        fuzz_check(value->data[i] >= ' ' && value->data[i] < 0x7f);
    }
}
