
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include "files.h"
#include "ngx_gcs_grant.h"


/* the longest way has seven steps and its impersonation */
#define FUZZ_STEPS  12

/* the files in their order, the metadata server, other ways, a signature */
#define FUZZ_KINDS  (TEST_FILES + 6)
#define FUZZ_BLOB   (TEST_FILES + 5)


static void fuzz_configure(ngx_uint_t kind);
static void fuzz_walk(ngx_pool_t *pool, ngx_gcs_grant_t *grant,
    const uint8_t *data, size_t size);
static ngx_gcs_grant_t *fuzz_grant(ngx_pool_t *pool, ngx_uint_t kind);
static const uint8_t *fuzz_answer(ngx_pool_t *pool, ngx_gcs_response_t *res,
    const uint8_t *data, const uint8_t *last);
static void fuzz_request(ngx_gcs_request_t *req);
static void fuzz_header(ngx_str_t *header);
static void fuzz_token(ngx_gcs_grant_t *grant);
static void fuzz_blob(ngx_gcs_grant_t *grant);
static void fuzz_error(ngx_gcs_grant_t *grant, ngx_uint_t answered);


/* a grant changes nothing in them */
static ngx_gcs_credentials_t      creds[FUZZ_KINDS];
static ngx_gcs_aws_environment_t  environments[FUZZ_KINDS];


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    ngx_uint_t  kind;

    files_make_key();

    for (kind = 0; kind < FUZZ_KINDS; kind++) {
        fuzz_configure(kind);
    }

    return 0;
}


/*
 * The first byte is the kind of the credential.  Then there is one answer
 * after the other, as many as are asked for: a line with the status, "+"
 * behind it for the header of the metadata server, and the body, up to a line
 * with "%%" alone.
 */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_pool_t  *pool;

    if (size < 2) {
        return 0;
    }

    pool = test_pool();

    fuzz_walk(pool, fuzz_grant(pool, (u_char) (data[0] - 'a') % FUZZ_KINDS),
              data + 1, size - 1);

    ngx_destroy_pool(pool);

    return 0;
}


/* "a" to "p", the first byte of an input */

static void
fuzz_configure(ngx_uint_t kind)
{
    json_t                     *json;
    ngx_str_t                   err;
    ngx_uint_t                  file;
    static ngx_pool_t          *pool;
    ngx_gcs_credentials_t      *cred;
    ngx_gcs_aws_environment_t  *aws;

    if (pool == NULL) {
        pool = test_pool();
    }

    cred = &creds[kind];
    aws = &environments[kind];

    cred->aws = aws;

    if (kind == TEST_FILES) {
        cred->type = NGX_GCS_METADATA_SERVER;
        fuzz_check(ngx_gcs_credentials_complete(pool, cred, &err) == NGX_OK);
        return;
    }

    file = kind < TEST_FILES ? kind
           : kind >= TEST_FILES + 4 ? TEST_IMPERSONATED_KEY
           : TEST_EXTERNAL_AWS;

    cred->signing = (kind == FUZZ_BLOB);

    json = files_json(file);
    fuzz_check(files_parse(pool, json, cred, &err) == NGX_OK);
    json_decref(json);

    switch (kind) {

    case TEST_FILES + 1:
        ngx_str_set(&aws->role_arn, "arn:aws:iam::123:role/r");
        ngx_str_set(&aws->web_identity_token_file, "/run/web");
        break;

    case TEST_FILES + 2:
        ngx_str_set(&aws->container_url, "http://169.254.170.23/v1");
        ngx_str_set(&aws->container_token_file, "/run/agent");
        ngx_str_set(&aws->region, "us-east-2");
        break;

    case TEST_FILES + 3:
        ngx_str_set(&aws->keys.access_key_id, "AKIA");
        ngx_str_set(&aws->keys.secret_access_key, "hidden-env");
        ngx_str_null(&cred->subject.session_url);
        break;

    case TEST_FILES + 4:

        /* another universe: the token is signed here */

        ngx_str_null(&cred->token_uri);
    }
}


static ngx_gcs_grant_t *
fuzz_grant(ngx_pool_t *pool, ngx_uint_t kind)
{
    static ngx_str_t  account = ngx_string("signer@demo");
    static ngx_str_t  token = ngx_string("hidden");
    static ngx_str_t  text = ngx_string("GOOG4-RSA-SHA256\n");

    return (kind == FUZZ_BLOB)
           ? ngx_gcs_grant_blob(pool, &creds[kind], &account, &token, &text)
           : ngx_gcs_grant_create(pool, &creds[kind]);
}


static void
fuzz_walk(ngx_pool_t *pool, ngx_gcs_grant_t *grant, const uint8_t *data,
    size_t size)
{
    ngx_int_t            rc;
    ngx_uint_t           step;
    const uint8_t       *last;
    ngx_gcs_request_t    req;
    ngx_gcs_response_t   res;

    last = data + size;

    for (step = 0; /* void */ ; step++) {

        /* there is an end, whatever the answers are */

        fuzz_check(step < FUZZ_STEPS);

        ngx_memzero(&req, sizeof(req));

        rc = ngx_gcs_grant_request(grant, 1700000000, &req);

        if (rc == NGX_ERROR) {
            fuzz_check(grant->error.len > 0);
            return;
        }

        fuzz_check(rc == NGX_OK);
        fuzz_request(&req);

        if (data == last) {
            return;
        }

        data = fuzz_answer(pool, &res, data, last);

        rc = ngx_gcs_grant_response(grant, &res);

        if (rc == NGX_AGAIN) {
            fuzz_check(grant->error.len == 0 && grant->word == NULL);
            continue;
        }

        if (rc == NGX_OK && grant->cred->signing) {
            fuzz_blob(grant);

        } else if (rc == NGX_OK) {
            fuzz_token(grant);

        } else {
            fuzz_check(rc == NGX_BUSY || rc == NGX_DECLINED);
            fuzz_error(grant, res.status != 0);
        }

        return;
    }
}


/* takes an answer from data, and returns what is left */

static const uint8_t *
fuzz_answer(ngx_pool_t *pool, ngx_gcs_response_t *res, const uint8_t *data,
    const uint8_t *last)
{
    const uint8_t  *end;

    ngx_memzero(res, sizeof(ngx_gcs_response_t));

    while (data < last && *data >= '0' && *data <= '9') {
        res->status = res->status % 100 * 10 + (*data++ - '0');
    }

    if (data < last && *data == '+') {
        res->metadata = 1;
        data++;
    }

    if (data < last) {
        data++;
    }

    end = memmem(data, last - data, "\n%%\n", 4);

    res->body = test_bytes(pool, data, (end ? end : last) - data);

    return end ? end + 4 : last;
}


static void
fuzz_request(ngx_gcs_request_t *req)
{
    size_t       i;
    ngx_str_t   *header;
    ngx_uint_t   n;

    fuzz_check(req->url.len);

    for (i = 0; i < req->url.len; i++) {
        fuzz_check(req->url.data[i] > ' ' && req->url.data[i] < 0x7f);
    }

    if (req->method.len == 0) {
        fuzz_check(req->url.data[0] == '/' && req->headers == NULL);
        fuzz_check(req->url.data[req->url.len] == '\0');
        return;
    }

    /* what an answer says can change nothing but the end of a URL */

    fuzz_check(ngx_gcs_credentials_url_secure(&req->url)
               || ngx_gcs_credentials_url_local(&req->url));

    header = req->headers ? req->headers->elts : NULL;

    for (n = 0; header && n < req->headers->nelts; n++) {
        fuzz_header(&header[n]);
    }
}


static void
fuzz_header(ngx_str_t *header)
{
    size_t  i;

    fuzz_check(test_contains(header, ": "));

    for (i = 0; i < header->len; i++) {

        /* where only AWS's agent gets it, any byte but those that end it */

        fuzz_check(header->data[i] != '\r' && header->data[i] != '\n'
                   && header->data[i] != '\0');
    }
}


static void
fuzz_token(ngx_gcs_grant_t *grant)
{
    size_t  i;

    fuzz_check(grant->token.len > 0 && grant->token.len <= 16384);
    fuzz_check(grant->lifetime > 0 && grant->lifetime <= 43200);
    fuzz_check(grant->error.len == 0 && grant->word == NULL);
    fuzz_check(grant->account.len <= NGX_GCS_GRANT_ACCOUNT_MAX);
    fuzz_check(grant->refresh_token.len <= NGX_GCS_GRANT_REFRESH_MAX);

    for (i = 0; i < grant->token.len; i++) {
        fuzz_check(memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                          "abcdefghijklmnopqrstuvwxyz"
                          "0123456789-._~+/=", grant->token.data[i], 69)
                   != NULL);
    }

    for (i = 0; i < grant->account.len; i++) {
        fuzz_check(grant->account.data[i] > ' '
                   && grant->account.data[i] < 0x7f);
    }
}


static void
fuzz_blob(ngx_gcs_grant_t *grant)
{
    size_t           i;
    volatile u_char  ch;

    fuzz_check(grant->blob.len > 0
               && grant->blob.len <= NGX_GCS_GRANT_BLOB_MAX);
    fuzz_check(grant->token.len == 0 && grant->lifetime == 0);
    fuzz_check(grant->error.len == 0 && grant->word == NULL);

    /* all of it is there to be read */

    for (i = 0; i < grant->blob.len; i++) {
        ch = grant->blob.data[i];
    }

    (void) ch;
}


static void
fuzz_error(ngx_gcs_grant_t *grant, ngx_uint_t answered)
{
    size_t  i;

    fuzz_check(grant->token.len == 0 && grant->lifetime == 0);
    fuzz_check(grant->error.len > 0
               && grant->error.len <= NGX_GCS_GRANT_ERROR_MAX);

    for (i = 0; grant->word && grant->word[i]; i++) {
        fuzz_check((grant->word[i] >= 'a' && grant->word[i] <= 'z')
                   || grant->word[i] == '_');
    }

    if (!answered) {

        /* what stands for the answer is a text of our own */

        return;
    }

    for (i = 0; i < grant->error.len; i++) {
        fuzz_check(grant->error.data[i] >= ' ' && grant->error.data[i] < 0x7f);
    }

    fuzz_check(!test_contains(&grant->error, "\"ya29."));
    fuzz_check(!test_contains(&grant->error, " ya29."));
    fuzz_check(!test_contains(&grant->error, "=ya29."));
}
