
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_credentials.h"


typedef struct {
    const char  *url;
    ngx_uint_t   allowed;
    ngx_uint_t   secure;
} test_url_t;


typedef struct {
    const char  *text;
    ngx_uint_t   good;
} test_text_t;


static test_url_t  urls[] = {
    { "https://googleapis.com", 1, 1 },
    { "https://oauth2.googleapis.com/token", 1, 1 },
    { "https://sts.europe-west1.rep.googleapis.com/v1/token?a=b", 1, 1 },
    { "HTTPS://OAUTH2.GoogleAPIs.com/token", 1, 1 },
    { "https://oauth2.googleapis.com:443/token", 1, 1 },
    { "https://oauth2.googleapis.com?x", 1, 1 },
    { "http://localhost/token", 1, 1 },
    { "http://LOCALHOST:8080", 1, 1 },
    { "https://localhost:8443/", 1, 1 },
    { "http://127.0.0.1:1/x", 1, 1 },
    { "http://127.255.0.9", 1, 1 },
    { "http://[::1]:8080/token", 1, 1 },
    { "https://oauth2.googleapis.com/a@b", 1, 1 },

    { "https://example.com/token", 0, 1 },
    { "https://evilgoogleapis.com/", 0, 1 },
    { "https://googleapis.com.evil.com/", 0, 1 },
    { "https://googleapis.com./", 0, 1 },
    { "https://evil.com/googleapis.com", 0, 1 },
    { "https://evil.com?.googleapis.com", 0, 1 },
    { "https://[2001:db8::1]/", 0, 1 },
    { "https://10.0.0.1/", 0, 1 },

    { "http://oauth2.googleapis.com/token", 0, 0 },
    { "http://example.com/", 0, 0 },
    { "http://127.0.0.1.evil.com/", 0, 0 },
    { "http://127.evil.com/", 0, 0 },
    { "http://127.1/", 0, 0 },
    { "http://127.0.0.256/", 0, 0 },
    { "http://127.0.0.1.1/", 0, 0 },
    { "http://127.0.0.01/", 0, 0 },
    { "http://127.0.0./", 0, 0 },
    { "http://0127.0.0.1/", 0, 0 },
    { "http://128.0.0.1/", 0, 0 },
    { "http://2130706433/", 0, 0 },
    { "http://localhost.evil.com/", 0, 0 },
    { "http://localhost./", 0, 0 },
    { "http://[::2]/", 0, 0 },

    { "", 0, 0 },
    { "https://", 0, 0 },
    { "https:///token", 0, 0 },
    { "https://:443/", 0, 0 },
    { "https:/googleapis.com/", 0, 0 },
    { "ftp://oauth2.googleapis.com/", 0, 0 },
    { "file:///etc/passwd", 0, 0 },
    { "oauth2.googleapis.com/token", 0, 0 },
    { "//oauth2.googleapis.com/token", 0, 0 },
    { " https://oauth2.googleapis.com/", 0, 0 },
    { "https://oauth2.googleapis.com/ ", 0, 0 },
    { "https://oauth2.googleapis.com/\r\nX: y", 0, 0 },
    { "https://oauth2.googleapis.com/\t", 0, 0 },
    { "https://oauth2.googleapis.com/\x7f", 0, 0 },
    { "https://oauth2.googleapis.com/\xc3\xa9", 0, 0 },
    { "https://oauth2.googleapis.com/#x", 0, 0 },
    { "https://evil.com#.googleapis.com/", 0, 0 },
    { "https://user@oauth2.googleapis.com/", 0, 0 },
    { "https://user:1@oauth2.googleapis.com/", 0, 0 },
    { "https://oauth2.googleapis.com:1@evil.com/", 0, 0 },
    { "https://@oauth2.googleapis.com/", 0, 0 },
    { "http://127.0.0.1@evil.com/", 0, 0 },
    { "http://[::1]@evil.com/", 0, 0 },
    { "http://[::1]evil.com/", 0, 0 },
    { "http://[::1", 0, 0 },
    { "http://[]/", 0, 0 },
    { "https://[/", 0, 0 },
    { "https://[::1%25eth0]/", 0, 0 },
    { "https://evil.com\\.googleapis.com/", 0, 0 },
    { "https://oauth2.googleapis.com/\\x", 0, 0 },
    { "https://evil.com%2f.googleapis.com/", 0, 0 },
    { "https://a,b.googleapis.com/", 0, 0 },
    { "https://oauth2.googleapis.com:/", 0, 0 },
    { "https://oauth2.googleapis.com:0/", 0, 0 },
    { "https://oauth2.googleapis.com:65536/", 0, 0 },
    { "https://oauth2.googleapis.com:4x/", 0, 0 },
    { "https://oauth2.googleapis.com:99999999999999999999/", 0, 0 },
    { NULL, 0, 0 }
};


static test_text_t  local[] = {
    { "http://169.254.169.254", 1 },
    { "http://169.254.169.254/", 1 },
    { "http://169.254.169.254/latest/meta-data?a=b@c", 1 },
    { "http://169.254.169.254:80/", 1 },
    { "http://169.254.169.254:65535/", 1 },
    { "http://169.254.169.254?a", 1 },
    { "HTTP://169.254.169.254/", 1 },
    { "https://169.254.169.254/", 1 },
    { "http://169.254.170.2/v2/credentials/1", 1 },
    { "http://169.254.170.23/v1/credentials", 1 },
    { "http://[fd00:ec2::254]/latest/api/token", 1 },
    { "http://[FD00:EC2::254]:80/", 1 },
    { "http://[fd00:ec2::23]/v1/credentials", 1 },
    { "http://[fd20:ce::254]/", 1 },
    { "http://127.0.0.1:8080/", 1 },
    { "http://127.8.9.10/", 1 },
    { "http://[::1]:1/", 1 },
    { "http://localhost/", 1 },
    { "http://LocalHost:1/", 1 },

    { "", 0 },
    { "http://", 0 },
    { "169.254.169.254", 0 },
    { "//169.254.169.254/", 0 },
    { "ftp://169.254.169.254/", 0 },
    { "file:///run/token", 0 },
    { "http://169.254.169.254.evil.com/", 0 },
    { "http://169.254.169.254./", 0 },
    { "http://169.254.169.254.", 0 },
    { "http://.169.254.169.254/", 0 },
    { "http://169.254.169.2540/", 0 },
    { "http://169.254.169.25/", 0 },
    { "http://169.254.169.253/", 0 },
    { "http://169.254.170.3/", 0 },
    { "http://169.254.170.230/", 0 },
    { "http://0169.254.169.254/", 0 },
    { "http://0xa9.0xfe.0xa9.0xfe/", 0 },
    { "http://2852039166/", 0 },
    { "http://0251.0376.0251.0376/", 0 },
    { "http://169.16689662/", 0 },
    { "http://[::ffff:169.254.169.254]/", 0 },
    { "http://[fd00:ec2::254", 0 },
    { "http://[fd00:ec2::254]x/", 0 },
    { "http://[fd00:ec2::254].evil.com/", 0 },
    { "http://[fd00:ec2:0::254]/", 0 },
    { "http://[fd00:ec2::254%25eth0]/", 0 },
    { "http://fd00:ec2::254/", 0 },
    { "http://user@169.254.169.254/", 0 },
    { "http://user:1@169.254.169.254/", 0 },
    { "http://169.254.169.254@evil.com/", 0 },
    { "http://169.254.169.254:80@evil.com/", 0 },
    { "http://@169.254.169.254/", 0 },
    { "http://169.254.169.254\\@evil.com/", 0 },
    { "http://evil.com#169.254.169.254/", 0 },
    { "http://evil.com/169.254.169.254", 0 },
    { "http://evil.com?169.254.169.254", 0 },
    { "http://169.254.169.254/#a", 0 },
    { "http://169.254.169.254/a b", 0 },
    { "http://169.254.169.254/\r\nHost: evil.com", 0 },
    { "http://169.254.169.254/\x7f", 0 },
    { "http://169.254.169.254/\xc3\xa9", 0 },
    { "http://169.254.169.254%2eevil.com/", 0 },
    { "http://169.254.169.254:/", 0 },
    { "http://169.254.169.254:0/", 0 },
    { "http://169.254.169.254:65536/", 0 },
    { "http://169.254.169.254:80x/", 0 },
    { "http://169.254.169.254:-1/", 0 },
    { "http://169.254.169.254:80:80/", 0 },
    { "http://metadata.google.internal/", 0 },
    { "http://example.com/", 0 },
    { "https://sts.googleapis.com/", 0 },
    { "http://10.0.0.1/", 0 },
    { "http://0.0.0.0/", 0 },
    { "http://[::]/", 0 },
    { NULL, 0 }
};


static test_text_t  hosts[] = {
    { "169.254.169.254", 1 },
    { "169.254.169.254:80", 1 },
    { "metadata.google.internal", 1 },
    { "METADATA.google.internal:8080", 1 },
    { "metadata.google.internal.", 1 },
    { "127.0.0.1:8080", 1 },
    { "127.0.0.2", 1 },
    { "localhost", 1 },
    { "localhost:988", 1 },
    { "[::1]", 1 },
    { "[::1]:988", 1 },
    { "[fd20:ce::254]", 1 },

    { "", 0 },
    { ":80", 0 },
    { "metadata", 0 },
    { "metadata.google.internal..", 0 },
    { "metadata.google.internal.evil.com", 0 },
    { "xmetadata.google.internal", 0 },
    { "evil.com", 0 },
    { "169.254.169.254.evil.com", 0 },
    { "169.254.169.254:", 0 },
    { "169.254.169.254:0", 0 },
    { "169.254.169.254:65536", 0 },
    { "169.254.169.254:x", 0 },
    { "169.254.169.254/", 0 },
    { "169.254.169.254/computeMetadata", 0 },
    { "169.254.169.254?", 0 },
    { "169.254.169.254#", 0 },
    { "169.254.169.254@evil.com", 0 },
    { "evil.com@169.254.169.254", 0 },
    { "evil.com/@169.254.169.254", 0 },
    { "evil.com?@169.254.169.254", 0 },
    { "169.254.169.254\\", 0 },
    { "169.254.169.254 ", 0 },
    { " 169.254.169.254", 0 },
    { "169.254.169.254\r\nX: y", 0 },
    { "http://169.254.169.254", 0 },
    { "2852039166", 0 },
    { "0xa9fea9fe", 0 },
    { "127.1", 0 },
    { "0.0.0.0", 0 },
    { "[::1", 0 },
    { "::1", 0 },
    { "[::1]x", 0 },
    { "10.0.0.1", 0 },
    { NULL, 0 }
};


/* an HMAC key's secret */

static test_text_t  secrets[] = {
    { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN", 1 },
    { "OPQRSTUVWXYZ0123456789+/===abcdefghijklm", 1 },
    { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN\n", 1 },
    { " \r\n\tabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN \r\n", 1 },
    { "", 0 },
    { "\n", 0 },
    { "                                        ", 0 },
    { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM", 0 },
    { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO", 0 },
    { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL N", 0 },
    { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL-N", 0 },
    { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL_N", 0 },
    { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL\xc3\xa9", 0 },
    { "abcdefghijklmnopqrs uvwxyzABCDEFGHIJKLMN", 0 },
    { "secret = abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN", 0 },
    { NULL, 0 }
};


static void test_urls(void);
static void test_table(test_text_t *t, ngx_uint_t (*check)(ngx_str_t *text));
static void test_lengths(void);
static void test_secrets(void);


int
main(void)
{
    test_urls();
    test_table(local, ngx_gcs_credentials_url_local);
    test_table(hosts, ngx_gcs_credentials_metadata_host);
    test_lengths();
    test_secrets();

    return test_failures;
}


static void
test_urls(void)
{
    ngx_str_t    url, none;
    ngx_pool_t  *pool;
    test_url_t  *t;
    ngx_str_t    domain = ngx_string("googleapis.com");

    ngx_str_null(&none);

    for (t = urls; t->url; t++) {
        pool = test_pool();
        url = test_text(pool, t->url);

        test_check(ngx_gcs_credentials_url_allowed(&url, &domain)
                   == t->allowed, t->url);
        test_check(ngx_gcs_credentials_url_secure(&url) == t->secure, t->url);

        /* loopback needs no domain, all else does */

        test_check(ngx_gcs_credentials_url_allowed(&url, &none)
                   == (t->allowed
                       && ngx_gcs_credentials_url_local(&url)), t->url);

        ngx_destroy_pool(pool);
    }

    pool = test_pool();
    url = test_bytes(pool, "https://a.googleapis.com/\0", 26);
    test_check(!ngx_gcs_credentials_url_secure(&url), "NUL");
    test_check(!ngx_gcs_credentials_url_allowed(&url, &domain), "NUL");

    /* another universe: its domain, and not Google's */

    ngx_str_set(&domain, "apis.example.goog");

    url = test_text(pool, "https://sts.apis.example.goog/v1/token");
    test_check(ngx_gcs_credentials_url_allowed(&url, &domain), NULL);

    url = test_text(pool, "https://sts.googleapis.com/v1/token");
    test_check(!ngx_gcs_credentials_url_allowed(&url, &domain), NULL);

    ngx_destroy_pool(pool);
}


static void
test_table(test_text_t *t, ngx_uint_t (*check)(ngx_str_t *text))
{
    ngx_str_t    text;
    ngx_pool_t  *pool;

    for ( /* void */ ; t->text; t++) {
        pool = test_pool();
        text = test_text(pool, t->text);

        test_check(check(&text) == t->good, t->text);

        ngx_destroy_pool(pool);
    }

    pool = test_pool();
    text = test_bytes(pool, "http://127.0.0.1/\0", 18);
    test_check(!check(&text), "NUL");
    text = test_bytes(pool, "127.0.0.1\0", 10);
    test_check(!check(&text), "NUL");
    ngx_destroy_pool(pool);
}


/* the name of a metadata server passes through a buffer on the stack */

static void
test_lengths(void)
{
    size_t       len;
    ngx_str_t    host;
    ngx_pool_t  *pool;

    for (len = 1; len < 600; len++) {
        pool = test_pool();

        host.data = ngx_pnalloc(pool, len);
        host.len = len;
        memset(host.data, 'a', len);

        test_check(!ngx_gcs_credentials_metadata_host(&host), "length");

        ngx_destroy_pool(pool);
    }
}


static void
test_secrets(void)
{
    ngx_int_t     rc;
    ngx_str_t     text, secret;
    ngx_uint_t    n;
    ngx_pool_t   *pool, *keep;
    test_text_t  *t;

    keep = test_pool();

    for (t = secrets; t->text; t++) {
        pool = test_pool();
        text = test_text(keep, t->text);

        rc = ngx_gcs_credentials_secret(pool, &text, &secret);

        test_check(rc == (t->good ? NGX_OK : NGX_DECLINED), t->text);

        if (rc == NGX_OK) {
            test_check(secret.len == 40, t->text);
            test_check(memmem(t->text, strlen(t->text), secret.data, 40)
                       != NULL, t->text);
        }

        ngx_destroy_pool(pool);
    }

    /* it is wiped, and needs memory */

    text = test_text(keep, secrets[0].text);

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();

        shim_allocs = 0;
        shim_fail_at = n;

        rc = ngx_gcs_credentials_secret(pool, &text, &secret);

        shim_fail_at = 0;
        shim_secret = "ABCDEFGHIJKLM";

        ngx_destroy_pool(pool);

        shim_secret = NULL;

        if (shim_allocs < n) {
            test_check(rc == NGX_OK, NULL);
            break;
        }

        test_check(rc == NGX_ERROR, "no memory");
    }

    test_check(n > 2, "allocations were made to fail");
    test_check(shim_left == 0, "the secret is wiped");

    ngx_destroy_pool(keep);
}
