
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include <ctype.h>

#include "ngx_gcs_check.h"


static void fuzz_clean(ngx_str_t *text, size_t max);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


/* whatever Google answers, what is shown of it is JSON, and is clean */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t                   *json;
    ngx_int_t                 rc;
    ngx_str_t                 body, out;
    ngx_uint_t                xml, held;
    ngx_pool_t               *pool;
    ngx_gcs_check_t           check;
    ngx_gcs_check_list_t      list;
    ngx_gcs_check_refusal_t   refusal;

    static char  *names[] = { "storage.objects.get", NULL };

    pool = test_pool();
    body = test_bytes(pool, data, size);

    for (xml = 0; xml < 2; xml++) {
        rc = ngx_gcs_check_list(pool, &body, xml, &list);

        fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);
        fuzz_check(list.name.len == 0
                   || list.name.data[list.name.len - 1] != '/');
        fuzz_check(list.name.len == 0 || list.count);
    }

    (void) ngx_gcs_check_permissions(&body, names, &held);
    (void) ngx_gcs_check_named(&body, &body);

    fuzz_check(ngx_gcs_check_refusal(pool, 403, &body, &refusal) == NGX_OK);
    fuzz_clean(&refusal.code, NGX_GCS_CHECK_ERROR_MAX);
    fuzz_clean(&refusal.text, NGX_GCS_CHECK_ERROR_MAX);

    ngx_memzero(&check, sizeof(ngx_gcs_check_t));

    check.pool = pool;
    check.url = body;
    check.member = ngx_gcs_check_who(pool, &refusal.text);

    ngx_gcs_check_explain(&check, NGX_GCS_CHECK_LIST, &refusal);

    /* in quotes a shell finds nothing in it */

    fuzz_check(check.member.len == 0
               || memchr(check.member.data, '\'', check.member.len) == NULL);

    fuzz_check(ngx_gcs_check_json(pool, &check, 0, 0, &out) == NGX_OK);

    json = json_loadb((char *) out.data, out.len,
                      JSON_REJECT_DUPLICATES|JSON_ALLOW_NUL, NULL);
    fuzz_check(json_is_object(json));
    json_decref(json);

    fuzz_check(ngx_gcs_check_html(pool, &check, 0, 0, &out) == NGX_OK);

    ngx_destroy_pool(pool);

    return 0;
}


static void
fuzz_clean(ngx_str_t *text, size_t max)
{
    size_t  i, n;

    /* a byte that is no UTF-8 becomes three */

    fuzz_check(text->len <= 3 * max);

    for (i = 0, n = 0; i < text->len; i++) {
        fuzz_check(text->data[i] >= ' ' && text->data[i] != 0x7f);

        /* no signature is shorter */

        n = isalnum(text->data[i]) ? n + 1 : 0;
        fuzz_check(n < 64);
    }
}
