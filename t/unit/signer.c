
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * Signs what it is told to, for comparison with other signers: a line of JSON
 * on standard input is a request, one on standard output its result.  The
 * time is of the request; a private key in PEM, if one is needed, is a file
 * named as the argument.
 */


#include "shim.h"

#include <jansson.h>

#include "ngx_gcs_aws.h"
#include "ngx_gcs_escape.h"
#include "ngx_gcs_sign.h"


static json_t *signer_answer(ngx_pool_t *pool, json_t *in);
static json_t *signer_aws(ngx_pool_t *pool, json_t *in);
static json_t *signer_storage(ngx_pool_t *pool, json_t *in);
static json_t *signer_query(ngx_pool_t *pool, json_t *in);
static json_t *signer_url(ngx_pool_t *pool, json_t *in, ngx_gcs_key_t *key);
static ngx_str_t signer_path(ngx_pool_t *pool, json_t *in);
static ngx_array_t *signer_pairs(ngx_pool_t *pool, json_t *in,
    const char *name);
static ngx_str_t signer_text(ngx_pool_t *pool, json_t *in, const char *name);
static ngx_str_t signer_string(ngx_pool_t *pool, json_t *value);
static json_t *signer_result(ngx_int_t rc, ngx_str_t *text);
static ngx_gcs_key_t *signer_key(ngx_pool_t *pool, const char *name);


/* NULL: there is none */
static ngx_gcs_key_t  *signer_file;


int
main(int argc, char **argv)
{
    int          rc;
    ngx_pool_t  *pool;

    pool = test_pool();

    if (argc > 1) {
        signer_file = signer_key(pool, argv[1]);
    }

    rc = test_asked(signer_answer);

    ngx_destroy_pool(pool);

    return rc;
}


static json_t *
signer_answer(ngx_pool_t *pool, json_t *in)
{
    ngx_str_t  op;

    op = signer_text(pool, in, "op");

    if (test_equal(&op, "aws")) {
        return signer_aws(pool, in);
    }

    if (test_equal(&op, "query")) {
        return signer_query(pool, in);
    }

    if (test_equal(&op, "url")) {
        return signer_url(pool, in, signer_file);
    }

    return signer_storage(pool, in);
}


static json_t *
signer_aws(ngx_pool_t *pool, json_t *in)
{
    ngx_int_t            rc;
    ngx_str_t            region, url, audience, token;
    ngx_gcs_aws_keys_t   keys;

    keys.access_key_id = signer_text(pool, in, "id");
    keys.secret_access_key = signer_text(pool, in, "secret");
    keys.session_token = signer_text(pool, in, "token");

    region = signer_text(pool, in, "region");
    url = signer_text(pool, in, "url");
    audience = signer_text(pool, in, "audience");

    rc = ngx_gcs_aws_subject_token(pool, &keys, &region, &url, &audience,
                   (time_t) json_integer_value(json_object_get(in, "now")),
                   &token);

    return signer_result(rc, &token);
}


static json_t *
signer_storage(ngx_pool_t *pool, json_t *in)
{
    ngx_int_t                  rc;
    ngx_str_t                  id, secret, text;
    ngx_gcs_sign_request_t     req;
    static ngx_gcs_sign_key_t  key;

    id = signer_text(pool, in, "id");
    secret = signer_text(pool, in, "secret");

    req.method = signer_text(pool, in, "method");
    req.path = signer_text(pool, in, "path");
    req.query = signer_text(pool, in, "query");
    req.payload = signer_text(pool, in, "payload");
    req.headers = signer_pairs(pool, in, "headers");
    req.now = (time_t) json_integer_value(json_object_get(in, "now"));

    /* another secret; the same one may keep its key over many requests */

    if (json_is_true(json_object_get(in, "fresh"))) {
        ngx_memzero(&key, sizeof(key));
    }

    rc = ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req, &text);

    return signer_result(rc, &text);
}


static json_t *
signer_query(ngx_pool_t *pool, json_t *in)
{
    ngx_int_t  rc;
    ngx_str_t  query;

    rc = ngx_gcs_sign_query(pool, signer_pairs(pool, in, "params"), &query);

    return signer_result(rc, &query);
}


/* with a secret an HMAC key signs, else the private key */

static json_t *
signer_url(ngx_pool_t *pool, json_t *in, ngx_gcs_key_t *key)
{
    ngx_int_t                  rc;
    ngx_str_t                  secret, text, part, result;
    ngx_gcs_sign_url_t         url;
    static ngx_gcs_sign_key_t  cache;

    secret = signer_text(pool, in, "secret");

    url.scheme = signer_text(pool, in, "scheme");
    url.host = signer_text(pool, in, "host");
    url.signed_host = signer_text(pool, in, "signed_host");
    url.path = signer_path(pool, in);
    url.method = signer_text(pool, in, "method");
    url.headers = signer_pairs(pool, in, "headers");
    url.params = signer_pairs(pool, in, "params");
    url.account = signer_text(pool, in, "account");
    url.location = signer_text(pool, in, "location");
    url.now = (time_t) json_integer_value(json_object_get(in, "now"));
    url.expires = (time_t) json_integer_value(json_object_get(in, "expires"));
    url.hmac = secret.len != 0;

    if (url.headers->nelts == 0) {
        url.headers = NULL;
    }

    if (url.params->nelts == 0) {
        url.params = NULL;
    }

    rc = ngx_gcs_sign_url_text(pool, &url, &text, &part);

    if (rc == NGX_OK) {

        if (secret.len) {
            ngx_memzero(&cache, sizeof(cache));
            rc = ngx_gcs_sign_url_hmac(pool, &secret, &cache, &url, &result);

        } else {
            rc = ngx_gcs_sign_url_rsa(pool, key, &url, &result);
        }
    }

    if (rc != NGX_OK) {
        return json_pack("{s:i}", "rc", (int) rc);
    }

    return json_pack("{s:i, s:s%, s:s%, s:s%}", "rc", 0,
                     "text", result.data, result.len,
                     "signed", text.data, text.len,
                     "unsigned", part.data, part.len);
}


/* "path" as it is, then "name", which is not yet escaped */

static ngx_str_t
signer_path(ngx_pool_t *pool, json_t *in)
{
    ngx_str_t  path, name, whole;

    path = signer_text(pool, in, "path");
    name = signer_text(pool, in, "name");

    whole.len = path.len + ngx_gcs_escape_path_len(name.data, name.len);
    whole.data = ngx_pnalloc(pool, whole.len);

    if (path.len) {
        ngx_memcpy(whole.data, path.data, path.len);
    }

    ngx_gcs_escape_path(whole.data + path.len, name.data, name.len);

    return whole;
}


static ngx_array_t *
signer_pairs(ngx_pool_t *pool, json_t *in, const char *name)
{
    size_t         i;
    json_t        *value;
    ngx_array_t   *pairs;
    ngx_keyval_t  *pair;

    pairs = ngx_array_create(pool, 4, sizeof(ngx_keyval_t));

    json_array_foreach(json_object_get(in, name), i, value) {
        pair = ngx_array_push(pairs);
        pair->key = signer_string(pool, json_array_get(value, 0));
        pair->value = signer_string(pool, json_array_get(value, 1));
    }

    return pairs;
}


static ngx_str_t
signer_text(ngx_pool_t *pool, json_t *in, const char *name)
{
    return signer_string(pool, json_object_get(in, name));
}


/* nothing, NULL included, for what is no string */

static ngx_str_t
signer_string(ngx_pool_t *pool, json_t *value)
{
    ngx_str_t  text;

    ngx_str_null(&text);

    if (json_string_length(value)) {
        text = test_bytes(pool, json_string_value(value),
                          json_string_length(value));
    }

    return text;
}


static json_t *
signer_result(ngx_int_t rc, ngx_str_t *text)
{
    if (rc != NGX_OK) {
        return json_pack("{s:i}", "rc", (int) rc);
    }

    return json_pack("{s:i, s:s%}", "rc", 0, "text", text->data, text->len);
}


static ngx_gcs_key_t *
signer_key(ngx_pool_t *pool, const char *name)
{
    char        buf[16384], *err;
    FILE       *file;
    ngx_gcs_key_t  *key;
    ngx_str_t   pem;

    file = fopen(name, "rb");
    if (file == NULL) {
        perror(name);
        exit(2);
    }

    pem.len = fread(buf, 1, sizeof(buf), file);
    pem.data = (u_char *) buf;

    fclose(file);

    key = ngx_gcs_crypto_load_key(pool, &pem, &err);
    if (key == NULL) {
        fprintf(stderr, "%s: %s\n", name, err);
        exit(2);
    }

    return key;
}
