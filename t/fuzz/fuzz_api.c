
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include "ngx_gcs_api.h"


/*
 * A method's digit, then lines: path, query, Content-Type, and a body.  What
 * is let pass must lead to the bucket that may be asked for, and mean the same
 * when it is read again.
 */


#define FUZZ_BUCKET  "bucket"


static ngx_str_t fuzz_line(ngx_str_t *input);
static void fuzz_init(ngx_pool_t *pool, ngx_gcs_api_t *api);
static void fuzz_again(ngx_pool_t *pool, ngx_gcs_api_t *api);
static void fuzz_links(ngx_pool_t *pool, ngx_str_t *answer);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_int_t       rc;
    ngx_str_t       input, type, made, sent;
    ngx_pool_t     *pool;
    ngx_gcs_api_t   api;

    if (size == 0) {
        return 0;
    }

    pool = test_pool();

    fuzz_init(pool, &api);
    api.method = data[0] % 7;

    input = test_bytes(pool, data + 1, size - 1);
    api.path = fuzz_line(&input);
    api.args = fuzz_line(&input);
    type = fuzz_line(&input);

    fuzz_links(pool, &input);
    fuzz_check(ngx_gcs_api_mask(pool, &type) == NGX_OK);

    rc = ngx_gcs_api_parse(&api);

    if (rc == NGX_OK && api.body == NGX_GCS_API_METADATA) {
        rc = ngx_gcs_api_metadata(&api, &input, &made);
        fuzz_check(rc != NGX_OK || made.len == input.len);

    } else if (rc == NGX_OK && api.body == NGX_GCS_API_MULTIPART) {
        rc = ngx_gcs_api_multipart(&api, &type, &input, &made, &sent);
        fuzz_check(rc != NGX_OK || made.len <= input.len);
    }

    if (rc == NGX_OK) {
        fuzz_again(pool, &api);

    } else {
        fuzz_check(rc == NGX_DECLINED && api.refusal.text
                   && api.refusal.status >= 400);
    }

    ngx_destroy_pool(pool);

    return 0;
}


static ngx_str_t
fuzz_line(ngx_str_t *input)
{
    u_char     *p;
    ngx_str_t   line;

    line = *input;
    p = ngx_strlchr(input->data, input->data + input->len, LF);

    if (p) {
        line.len = p - input->data;
        input->len -= line.len + 1;
        input->data = p + 1;

    } else {
        input->data += input->len;
        input->len = 0;
    }

    return line;
}


static void
fuzz_init(ngx_pool_t *pool, ngx_gcs_api_t *api)
{
    ngx_gcs_object_t  *object;

    ngx_memzero(api, sizeof(ngx_gcs_api_t));

    api->pool = pool;
    api->buckets = ngx_array_create(pool, 1, sizeof(ngx_gcs_object_t));

    object = ngx_array_push(api->buckets);
    object->bucket = test_text(pool, FUZZ_BUCKET);
    object->name = test_text(pool, "in/");
}


static void
fuzz_again(ngx_pool_t *pool, ngx_gcs_api_t *api)
{
    size_t          i;
    u_char         *p;
    ngx_str_t      *target;
    ngx_gcs_api_t   again;

    target = &api->target;

    fuzz_check(target->len && target->data[0] == '/');
    fuzz_check(test_equal(&api->object.bucket, FUZZ_BUCKET));

    for (i = 0; i < target->len; i++) {
        fuzz_check(target->data[i] > 0x20 && target->data[i] < 0x7f);
        fuzz_check(target->data[i] != '#');
    }

    if (api->object.name.len) {
        fuzz_check(api->object.name.len >= 3
                   && memcmp(api->object.name.data, "in/", 3) == 0);
        fuzz_check(!ngx_gcs_object_dot_segment(&api->object.name));
    }

    if (api->op & NGX_GCS_API_SESSION) {

        /* the name of it is not sent */

        return;
    }

    fuzz_init(pool, &again);

    again.method = api->method;
    again.path = *target;

    p = ngx_strlchr(target->data, target->data + target->len, '?');

    if (p) {
        again.path.len = p - target->data;
        again.args.data = p + 1;
        again.args.len = target->len - again.path.len - 1;
    }

    fuzz_check(ngx_gcs_api_parse(&again) == NGX_OK);
    fuzz_check(again.op == api->op && again.needs == api->needs);
    fuzz_check(again.object.name.len == api->object.name.len);
    fuzz_check(again.object.name.len == 0
               || memcmp(again.object.name.data, api->object.name.data,
                         again.object.name.len)
                  == 0);
}


/* nothing is lost of an answer, however it is cut */

static void
fuzz_links(ngx_pool_t *pool, ngx_str_t *answer)
{
    u_char               *p, *last;
    size_t                i, n, step;
    ngx_int_t             rc;
    ngx_str_t             text, passed[2];
    ngx_gcs_api_links_t   state;

    static ngx_str_t  prefixes[] = {
        ngx_string("https://g.test/"),
        ngx_string("http://g.test/"),
        ngx_null_string
    };

    for (n = 0; n < 2; n++) {

        ngx_memzero(&state, sizeof(ngx_gcs_api_links_t));
        state.prefixes = prefixes;
        ngx_str_set(&state.origin, "https://here/");

        passed[n].data = ngx_pnalloc(pool, answer->len * 2 + 1);
        passed[n].len = 0;

        step = n ? 7 : answer->len;

        for (i = 0; i < answer->len; i += step) {
            p = answer->data + i;
            last = p + ngx_min(step, answer->len - i);

            while ((rc = ngx_gcs_api_links(&state, &p, last, &text))
                   != NGX_AGAIN)
            {
                fuzz_check(rc == NGX_OK || rc == NGX_DONE);
                fuzz_check(text.len);
                fuzz_check(passed[n].len + text.len <= answer->len * 2);

                ngx_memcpy(passed[n].data + passed[n].len, text.data,
                           text.len);
                passed[n].len += text.len;
            }

            fuzz_check(p == last);
        }
    }

    fuzz_check(passed[0].len == passed[1].len
               && memcmp(passed[0].data, passed[1].data, passed[0].len) == 0);
}
