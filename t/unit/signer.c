
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * Signs what it is told to, for comparison with other signers: a line of JSON
 * on standard input is a request, one on standard output its result.
 */


#include "shim.h"

#include <jansson.h>

#include "ngx_gcs_aws.h"
#include "ngx_gcs_sign.h"


static json_t *signer_aws(ngx_pool_t *pool, json_t *in);
static json_t *signer_storage(ngx_pool_t *pool, json_t *in);
static json_t *signer_query(ngx_pool_t *pool, json_t *in);
static ngx_array_t *signer_pairs(ngx_pool_t *pool, json_t *in,
    const char *name);
static ngx_str_t signer_text(ngx_pool_t *pool, json_t *in, const char *name);
static ngx_str_t signer_string(ngx_pool_t *pool, json_t *value);
static json_t *signer_result(ngx_int_t rc, ngx_str_t *text);


int
main(void)
{
    char        *line;
    json_t      *in, *out;
    size_t       size;
    ngx_str_t    op;
    ngx_pool_t  *pool;

    line = NULL;
    size = 0;

    while (getline(&line, &size, stdin) > 0) {

        in = json_loads(line, 0, NULL);
        if (in == NULL) {
            return 2;
        }

        pool = test_pool();
        op = signer_text(pool, in, "op");

        if (test_equal(&op, "aws")) {
            out = signer_aws(pool, in);

        } else if (test_equal(&op, "query")) {
            out = signer_query(pool, in);

        } else {
            out = signer_storage(pool, in);
        }

        json_dumpf(out, stdout, JSON_COMPACT);
        printf("\n");

        json_decref(in);
        json_decref(out);
        ngx_destroy_pool(pool);
    }

    free(line);

    return 0;
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
