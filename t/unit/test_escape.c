
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_escape.h"


typedef struct {
    const char  *raw;
    const char  *path;
    const char  *query;
} test_case_t;


static test_case_t  cases[] = {
    { "", "", "" },
    { "abcXYZ019-._~", "abcXYZ019-._~", "abcXYZ019-._~" },
    { "a b", "a%20b", "a%20b" },
    { "a/plus+plus.txt", "a/plus%2Bplus.txt", "a%2Fplus%2Bplus.txt" },
    { "b/c/'(1).txt", "b/c/%27%281%29.txt", "b%2Fc%2F%27%281%29.txt" },
    { "b/c/=", "b/c/%3D", "b%2Fc%2F%3D" },
    { "b/c/@", "b/c/%40", "b%2Fc%2F%40" },
    { "%bad%file%name%", "%25bad%25file%25name%25",
      "%25bad%25file%25name%25" },
    { "a%2Fb", "a%252Fb", "a%252Fb" },
    { "a?b#c&d;e:f", "a%3Fb%23c%26d%3Be%3Af", "a%3Fb%23c%26d%3Be%3Af" },
    { "!*,$[]\"<>\\^`{|}", "%21%2A%2C%24%5B%5D%22%3C%3E%5C%5E%60%7B%7C%7D",
      "%21%2A%2C%24%5B%5D%22%3C%3E%5C%5E%60%7B%7C%7D" },
    { "/a//b/", "/a//b/", "%2Fa%2F%2Fb%2F" },
    { "\xe3\x81\x82", "%E3%81%82", "%E3%81%82" },
    { "\xf0\x9f\x98\x80", "%F0%9F%98%80", "%F0%9F%98%80" },
    { "\r\n\t\x7f", "%0D%0A%09%7F", "%0D%0A%09%7F" },
    { NULL, NULL, NULL }
};


static void test_table(void);
static void test_every_byte(void);


int
main(void)
{
    test_table();
    test_every_byte();

    return test_failures;
}


static void
test_table(void)
{
    size_t        len;
    u_char       *last;
    ngx_str_t     raw, out;
    ngx_pool_t   *pool;
    test_case_t  *t;

    pool = test_pool();

    for (t = cases; t->raw; t++) {
        raw = test_text(pool, t->raw);

        len = ngx_gcs_escape_path_len(raw.data, raw.len);
        test_check(len == strlen(t->path), t->raw);

        out.data = ngx_pnalloc(pool, len);
        last = ngx_gcs_escape_path(out.data, raw.data, raw.len);
        out.len = last - out.data;
        test_check(test_equal(&out, t->path), t->raw);

        len = ngx_gcs_escape_query_len(raw.data, raw.len);
        test_check(len == strlen(t->query), t->raw);

        out.data = ngx_pnalloc(pool, len);
        last = ngx_gcs_escape_query(out.data, raw.data, raw.len);
        out.len = last - out.data;
        test_check(test_equal(&out, t->query), t->raw);
    }

    ngx_destroy_pool(pool);
}


/* against another statement of the rule, byte by byte, NUL included */

static void
test_every_byte(void)
{
    char         want[4];
    u_char       c, dst[3];
    size_t       len;
    ngx_uint_t   i, plain;

    for (i = 0; i < 256; i++) {
        c = (u_char) i;

        plain = c < 0x80
                && ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
                    || (c >= 'a' && c <= 'z') || c == '-' || c == '.'
                    || c == '_' || c == '~');

        if (plain) {
            sprintf(want, "%c", c);

        } else {
            sprintf(want, "%%%02X", c);
        }

        len = ngx_gcs_escape_query(dst, &c, 1) - dst;

        test_check(len == strlen(want) && memcmp(dst, want, len) == 0, want);
        test_check(ngx_gcs_escape_query_len(&c, 1) == len, want);

        if (c == '/') {
            strcpy(want, "/");
        }

        len = ngx_gcs_escape_path(dst, &c, 1) - dst;

        test_check(len == strlen(want) && memcmp(dst, want, len) == 0, want);
        test_check(ngx_gcs_escape_path_len(&c, 1) == len, want);
    }
}
