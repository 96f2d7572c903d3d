
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_redirect.h"


#define test_google  "https://storage.googleapis.com"
#define test_signed  "GoogleAccessId=a%40b&Expires=1767323945&Signature=b"


typedef struct {
    const char                    *url;
    const char                    *bucket;  /* NULL: none of ours */
    const char                    *name;
    const char                    *host;
    ngx_gcs_redirect_style_e       style;
} test_url_t;


typedef struct {
    const char                    *text;
    const char                    *host;    /* NULL: refused */
    in_port_t                      port;
    const char                    *bucket;
    ngx_gcs_redirect_style_e       style;
} test_host_t;


static test_url_t  urls[] = {
    { test_google "/bucket/a", "bucket", "a", "storage.googleapis.com",
      NGX_GCS_REDIRECT_PATH },
    { test_google "/bucket/a/b%20c.jpg", "bucket", "a/b c.jpg",
      "storage.googleapis.com", NGX_GCS_REDIRECT_PATH },
    { test_google "/bucket//a", "bucket", "/a", "storage.googleapis.com",
      NGX_GCS_REDIRECT_PATH },
    { test_google "/bucket/a//", "bucket", "a//", "storage.googleapis.com",
      NGX_GCS_REDIRECT_PATH },
    { test_google "/bucket/%252e+%2B%3F%23", "bucket", "%2e++?#",
      "storage.googleapis.com", NGX_GCS_REDIRECT_PATH },
    { test_google "/bucket/%E3%81%82!$&'()*,;=:@~", "bucket",
      "\xe3\x81\x82!$&'()*,;=:@~", "storage.googleapis.com",
      NGX_GCS_REDIRECT_PATH },
    { test_google "/bucket/storage/v1/b", "bucket", "storage/v1/b",
      "storage.googleapis.com", NGX_GCS_REDIRECT_PATH },
    { test_google "/storage/x", "storage", "x", "storage.googleapis.com",
      NGX_GCS_REDIRECT_PATH },
    { test_google ":443/bucket/a", "bucket", "a", "storage.googleapis.com",
      NGX_GCS_REDIRECT_PATH },
    { "http://storage.googleapis.com:80/bucket/a", "bucket", "a",
      "storage.googleapis.com", NGX_GCS_REDIRECT_PATH },
    { "HTTPS://Storage.GoogleAPIs.com/bucket/a", "bucket", "a",
      "storage.googleapis.com", NGX_GCS_REDIRECT_PATH },
    { "https://bucket.storage.googleapis.com/a", "bucket", "a",
      "bucket.storage.googleapis.com", NGX_GCS_REDIRECT_VIRTUAL },
    { "https://my.b_1.storage.googleapis.com/bucket/a", "my.b_1", "bucket/a",
      "my.b_1.storage.googleapis.com", NGX_GCS_REDIRECT_VIRTUAL },
    { "https://Bucket.storage.googleapis.com//a", "bucket", "/a",
      "bucket.storage.googleapis.com", NGX_GCS_REDIRECT_VIRTUAL },
    { "https://bucket.storage.googleapis.com/storage/v1/b", "bucket",
      "storage/v1/b", "bucket.storage.googleapis.com",
      NGX_GCS_REDIRECT_VIRTUAL },

    /* the list: see test_conf() */

    { "http://localhost:4443/bucket/a", "bucket", "a", "localhost:4443",
      NGX_GCS_REDIRECT_PATH },
    { "https://localhost:4443/bucket/a", "bucket", "a", "localhost:4443",
      NGX_GCS_REDIRECT_PATH },
    { "http://[::1]:4443/bucket/a", "bucket", "a", "[::1]:4443",
      NGX_GCS_REDIRECT_PATH },
    { "https://psc.example.com/bucket/a", "bucket", "a", "psc.example.com",
      NGX_GCS_REDIRECT_PATH },
    { "http://psc.example.com:80/bucket/a", "bucket", "a", "psc.example.com",
      NGX_GCS_REDIRECT_PATH },
    { "https://bucket.x.example.com/a", "bucket", "a", "bucket.x.example.com",
      NGX_GCS_REDIRECT_VIRTUAL },
    { "https://CDN.example.com/other/a", "media", "other/a",
      "cdn.example.com", NGX_GCS_REDIRECT_BOUND },
    { "https://cdn.example.com:443/a", "media", "a", "cdn.example.com",
      NGX_GCS_REDIRECT_BOUND },

    { "http://cdn.example.com/a", NULL, NULL, NULL, 0 },
    { "https://localhost/bucket/a", NULL, NULL, NULL, 0 },
    { "https://localhost:4444/bucket/a", NULL, NULL, NULL, 0 },
    { "https://psc.example.com:8443/bucket/a", NULL, NULL, NULL, 0 },
    { "https://psc.example.com:80/bucket/a", NULL, NULL, NULL, 0 },
    { "https://a.psc.example.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https://bucket.cdn.example.com/a", NULL, NULL, NULL, 0 },
    { "https://x.example.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https://.x.example.com/a", NULL, NULL, NULL, 0 },
    { "https://b.x.example.com/a", NULL, NULL, NULL, 0 },
    { "https://bucketx.example.com/a", NULL, NULL, NULL, 0 },

    /* other hosts */

    { "https://storage.cloud.google.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https://www.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https://googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https://evilstorage.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com.evil/bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com./bucket/a", NULL, NULL, NULL, 0 },
    { "https://bucket..storage.googleapis.com/a", NULL, NULL, NULL, 0 },
    { "https://.storage.googleapis.com/a", NULL, NULL, NULL, 0 },
    { "https://c.storage.googleapis.com/a", NULL, NULL, NULL, 0 },
    { "https://-bc.storage.googleapis.com/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com@evil/bucket/a", NULL, NULL, NULL, 0 },
    { "https://evil@storage.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com:x@evil/b/a", NULL, NULL, NULL, 0 },
    { "https://evil\\@storage.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage%2Egoogleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https:///bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com:/bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com:0443/bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com:80/bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com:8443/bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com:65979/bucket/a", NULL, NULL, NULL, 0 },
    { "https://storage.googleapis.com:443:443/b/a", NULL, NULL, NULL, 0 },
    { "http://storage.googleapis.com:443/bucket/a", NULL, NULL, NULL, 0 },
    { "https://[::1]x/bucket/a", NULL, NULL, NULL, 0 },
    { "https://[::1/bucket/a", NULL, NULL, NULL, 0 },

    /* no URL, or none of HTTP */

    { "", NULL, NULL, NULL, 0 },
    { "/bucket/a", NULL, NULL, NULL, 0 },
    { "//storage.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "storage.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "ftp://storage.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https:/storage.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "https:storage.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { " https://storage.googleapis.com/bucket/a", NULL, NULL, NULL, 0 },
    { "gs://bucket/a", NULL, NULL, NULL, 0 },
    { "/file_download/https/storage.googleapis.com/bucket/a",
      NULL, NULL, NULL, 0 },

    /* no object */

    { test_google, NULL, NULL, NULL, 0 },
    { test_google "/", NULL, NULL, NULL, 0 },
    { test_google "/bucket", NULL, NULL, NULL, 0 },
    { test_google "/bucket/", NULL, NULL, NULL, 0 },
    { test_google "/bucket/?x=y", NULL, NULL, NULL, 0 },
    { test_google "/bucket?x=/y", NULL, NULL, NULL, 0 },
    { test_google "?x=/bucket/a", NULL, NULL, NULL, 0 },
    { test_google "//bucket/a", NULL, NULL, NULL, 0 },
    { test_google "/Bucket/a", NULL, NULL, NULL, 0 },
    { test_google "/%62ucket/a", NULL, NULL, NULL, 0 },
    { test_google "/bucket%2Fa/b", NULL, NULL, NULL, 0 },
    { test_google "/../bucket/a", NULL, NULL, NULL, 0 },
    { "https://bucket.storage.googleapis.com/", NULL, NULL, NULL, 0 },
    { "https://bucket.storage.googleapis.com?x=/a", NULL, NULL, NULL, 0 },

    /* objects that are none, or that a browser would not see there */

    { test_google "/bucket/.", NULL, NULL, NULL, 0 },
    { test_google "/bucket/%2e%2E", NULL, NULL, NULL, 0 },
    { test_google "/bucket/../other/a", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a/%2e%2e/b", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a%2F..%2Fb", NULL, NULL, NULL, 0 },
    { test_google "/bucket/%ff", NULL, NULL, NULL, 0 },
    { test_google "/bucket/%00", NULL, NULL, NULL, 0 },
    { test_google "/bucket/%0a", NULL, NULL, NULL, 0 },
    { test_google "/bucket/%4", NULL, NULL, NULL, 0 },
    { test_google "/bucket/%zz", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a#b", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a#", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a b", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a\\b", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a\tb", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a\r\nX: y", NULL, NULL, NULL, 0 },
    { test_google "/bucket/\xc3\xa9", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a\"<>[]^`{|}", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a?x=%zz", NULL, NULL, NULL, 0 },
    { test_google "/bucket/a?x=\x7f", NULL, NULL, NULL, 0 },

    /* the JSON API */

    { test_google "/storage/v1/b/bucket/o/a?alt=media", NULL, NULL, NULL, 0 },
    { test_google "/download/storage/v1/b/bucket/o/a", NULL, NULL, NULL, 0 },
    { test_google "/upload/storage/v1/b/bucket/o", NULL, NULL, NULL, 0 },
    { test_google "/batch/storage/v1", NULL, NULL, NULL, 0 },
    { "http://localhost:4443/storage/v1/b/bucket/o/a", NULL, NULL, NULL, 0 },
    { NULL, NULL, NULL, NULL, 0 }
};


static test_host_t  hosts[] = {
    { "host", "host", 0, "", NGX_GCS_REDIRECT_PATH },
    { "Storage.Example.COM:8080", "storage.example.com", 8080, "",
      NGX_GCS_REDIRECT_PATH },
    { "127.0.0.1:65535", "127.0.0.1", 65535, "", NGX_GCS_REDIRECT_PATH },
    { "[::1]", "[::1]", 0, "", NGX_GCS_REDIRECT_PATH },
    { "[2001:DB8::1]:1", "[2001:db8::1]", 1, "", NGX_GCS_REDIRECT_PATH },
    { "*.a.example", "a.example", 0, "", NGX_GCS_REDIRECT_VIRTUAL },
    { "*.a.example:81", "a.example", 81, "", NGX_GCS_REDIRECT_VIRTUAL },
    { "cdn.example=my-bucket", "cdn.example", 0, "my-bucket",
      NGX_GCS_REDIRECT_BOUND },
    { "cdn.example:8443=a.b_c", "cdn.example", 8443, "a.b_c",
      NGX_GCS_REDIRECT_BOUND },
    { "", NULL, 0, NULL, 0 },
    { ":80", NULL, 0, NULL, 0 },
    { "host:", NULL, 0, NULL, 0 },
    { "host:0", NULL, 0, NULL, 0 },
    { "host:080", NULL, 0, NULL, 0 },
    { "host:65536", NULL, 0, NULL, 0 },
    { "host:x", NULL, 0, NULL, 0 },
    { "https://host", NULL, 0, NULL, 0 },
    { "host/path", NULL, 0, NULL, 0 },
    { "user@host", NULL, 0, NULL, 0 },
    { "*", NULL, 0, NULL, 0 },
    { "*.", NULL, 0, NULL, 0 },
    { "*.*.host", NULL, 0, NULL, 0 },
    { "a*.host", NULL, 0, NULL, 0 },
    { ".host", NULL, 0, NULL, 0 },
    { "host.", NULL, 0, NULL, 0 },
    { "a..host", NULL, 0, NULL, 0 },
    { "host=", NULL, 0, NULL, 0 },
    { "host=B", NULL, 0, NULL, 0 },
    { "host=bucket/x", NULL, 0, NULL, 0 },
    { "*.host=bucket", NULL, 0, NULL, 0 },
    { "=bucket", NULL, 0, NULL, 0 },
    { "[::1", NULL, 0, NULL, 0 },
    { "[::g]", NULL, 0, NULL, 0 },
    { "[]", NULL, 0, NULL, 0 },
    { "h\xc3\xb6st", NULL, 0, NULL, 0 },
    { NULL, NULL, 0, NULL, 0 }
};


static void test_conf(ngx_pool_t *pool, ngx_gcs_redirect_conf_t *conf);
static void test_urls(void);
static void test_hosts(void);
static void test_universes(void);
static void test_accel(void);
static void test_memory(void);
static void test_length(void);


int
main(void)
{
    test_urls();
    test_hosts();
    test_universes();
    test_accel();
    test_memory();
    test_length();

    return test_failures;
}


static void
test_conf(ngx_pool_t *pool, ngx_gcs_redirect_conf_t *conf)
{
    ngx_str_t                 text;
    ngx_uint_t                i;
    ngx_gcs_redirect_host_t  *host;

    static const char  *list[] = {
        "localhost:4443", "[::1]:4443", "psc.example.com", "*.x.example.com",
        "cdn.example.com:443=media"
    };

    ngx_str_null(&conf->universe);
    conf->hosts = ngx_array_create(pool, 1, sizeof(ngx_gcs_redirect_host_t));

    for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        text = test_text(pool, list[i]);
        host = ngx_array_push(conf->hosts);

        test_check(ngx_gcs_redirect_host(&text, host) == NULL, list[i]);
    }
}


static void
test_urls(void)
{
    char                     *reason;
    ngx_int_t                 rc;
    ngx_str_t                 url;
    ngx_pool_t               *pool;
    test_url_t               *t;
    ngx_gcs_redirect_t        redirect;
    ngx_gcs_redirect_conf_t   conf;

    pool = test_pool();
    test_conf(pool, &conf);

    for (t = urls; t->url; t++) {
        url = test_text(pool, t->url);
        reason = NULL;

        rc = ngx_gcs_redirect_location(pool, &conf, &url, &redirect, &reason);

        if (t->bucket == NULL) {
            test_check(rc == NGX_DECLINED && reason != NULL, t->url);
            continue;
        }

        test_check(rc == NGX_OK, t->url);

        if (rc != NGX_OK) {
            continue;
        }

        test_check(test_equal(&redirect.object.bucket, t->bucket), t->url);
        test_check(test_equal(&redirect.object.name, t->name), t->url);
        test_check(test_equal(&redirect.host, t->host), t->url);
        test_check(redirect.style == t->style, t->url);
        test_check(redirect.https == (strncasecmp(t->url, "https", 5) == 0),
                   t->url);
        test_check(redirect.target.data + redirect.target.len
                   == url.data + url.len, t->url);
        test_check(redirect.target.data[0] == '/'
                   && redirect.target.data[-1] != '/', t->url);
    }

    ngx_destroy_pool(pool);
}


static void
test_hosts(void)
{
    char                     *err;
    ngx_str_t                 text;
    ngx_pool_t               *pool;
    test_host_t              *t;
    ngx_gcs_redirect_host_t   host;

    pool = test_pool();

    for (t = hosts; t->text; t++) {
        text = test_text(pool, t->text);

        err = ngx_gcs_redirect_host(&text, &host);

        if (t->host == NULL) {
            test_check(err != NULL, t->text);
            continue;
        }

        test_check(err == NULL, t->text);

        if (err == NULL) {
            test_check(test_equal(&host.host, t->host), t->text);
            test_check(test_equal(&host.bucket, t->bucket), t->text);
            test_check(host.port == t->port, t->text);
            test_check(host.style == t->style, t->text);
        }
    }

    ngx_destroy_pool(pool);
}


/* a bucket of one universe is none of another, be its name the same */

static void
test_universes(void)
{
    char                     *reason;
    ngx_str_t                 own, google;
    ngx_pool_t               *pool;
    ngx_gcs_redirect_t        redirect;
    ngx_gcs_redirect_conf_t   conf;

    pool = test_pool();
    ngx_memzero(&conf, sizeof(conf));

    own = test_text(pool, "https://bucket.storage.u.example/a");
    google = test_text(pool, test_google "/bucket/a");

    test_check(ngx_gcs_redirect_location(pool, &conf, &own, &redirect,
                                         &reason)
               == NGX_DECLINED, NULL);

    ngx_str_set(&conf.universe, "u.example");

    test_check(ngx_gcs_redirect_location(pool, &conf, &own, &redirect,
                                         &reason)
               == NGX_OK, NULL);
    test_check(test_equal(&redirect.object.bucket, "bucket"), NULL);
    test_check(ngx_gcs_redirect_location(pool, &conf, &google, &redirect,
                                         &reason)
               == NGX_DECLINED, NULL);

    ngx_destroy_pool(pool);
}


static void
test_accel(void)
{
    char                     *reason;
    ngx_str_t                 value;
    ngx_uint_t                i;
    ngx_pool_t               *pool;
    ngx_gcs_redirect_t        redirect;
    ngx_gcs_redirect_conf_t   conf;

    static const char  *bad[] = {
        "", "/file_download", "/file_download/", "/file_download/https",
        "/file_download/https/", "/file_download/https/evil/bucket/a",
        "/file_download/ftp/storage.googleapis.com/bucket/a",
        "/file_download/https://storage.googleapis.com/bucket/a",
        "/file_download/https/storage.googleapis.com",
        "/file_download/https/storage.googleapis.com/bucket/",
        "/file_download/https/x@storage.googleapis.com/bucket/a",
        "/file_download//storage.googleapis.com/bucket/a",
        "/x/file_download/https/storage.googleapis.com/bucket/a",
        "@gcs", test_google "/bucket/a", NULL
    };

    pool = test_pool();
    ngx_memzero(&conf, sizeof(conf));

    value = test_text(pool, "/file_download/https/storage.googleapis.com"
                      "/bucket/a%2520b/c?" test_signed);

    test_check(ngx_gcs_redirect_accel(pool, &conf, &value, &redirect, &reason)
               == NGX_OK, NULL);
    test_check(test_equal(&redirect.object.bucket, "bucket"), NULL);
    test_check(test_equal(&redirect.object.name, "a%20b/c"), NULL);
    test_check(test_equal(&redirect.target, "/bucket/a%2520b/c?" test_signed),
               NULL);
    test_check(redirect.signature == NGX_GCS_REDIRECT_V2, NULL);
    test_check(redirect.https == 1, NULL);

    value = test_text(pool, "/file_download/http/bucket.storage."
                      "googleapis.com/a");
    test_check(ngx_gcs_redirect_accel(pool, &conf, &value, &redirect, &reason)
               == NGX_OK, NULL);
    test_check(redirect.https == 0, NULL);

    for (i = 0; bad[i]; i++) {
        value = test_text(pool, bad[i]);
        test_check(ngx_gcs_redirect_accel(pool, &conf, &value, &redirect,
                                          &reason)
                   == NGX_DECLINED, bad[i]);
    }

    ngx_destroy_pool(pool);
}


static void
test_memory(void)
{
    char                     *reason;
    ngx_int_t                 rc;
    ngx_str_t                 url;
    ngx_uint_t                i;
    ngx_pool_t               *pool;
    ngx_gcs_redirect_t        redirect;
    ngx_gcs_redirect_conf_t   conf;

    pool = test_pool();
    ngx_memzero(&conf, sizeof(conf));

    url = test_text(pool, test_google "/bucket/a%20b?" test_signed);

    for (i = 1; i < 10; i++) {
        shim_allocs = 0;
        shim_fail_at = i;

        rc = ngx_gcs_redirect_location(pool, &conf, &url, &redirect, &reason);

        if (rc == NGX_OK) {
            break;
        }

        test_check(rc == NGX_ERROR, "no memory");
    }

    shim_fail_at = 0;
    test_check(i == 4, "the host, the name and the ID");

    ngx_destroy_pool(pool);
}


static void
test_length(void)
{
    char                     *reason;
    u_char                    text[NGX_GCS_REDIRECT_MAX + 16];
    size_t                    i, prefix;
    ngx_str_t                 url;
    ngx_pool_t               *pool;
    ngx_gcs_redirect_t        redirect;
    ngx_gcs_redirect_conf_t   conf;

    pool = test_pool();
    ngx_memzero(&conf, sizeof(conf));

    memset(text, 'x', sizeof(text));
    prefix = sizeof(test_google "/bucket/a?x=") - 1;
    memcpy(text, test_google "/bucket/a?x=", prefix);

    for (i = 0; i < 2; i++) {
        url = test_bytes(pool, text,
                         sizeof("https://") - 1 + NGX_GCS_REDIRECT_MAX + i);

        test_check(ngx_gcs_redirect_location(pool, &conf, &url, &redirect,
                                             &reason)
                   == (i ? NGX_DECLINED : NGX_OK), "length of a URL");
    }

    /* the longest name, and one byte more */

    prefix = sizeof(test_google "/bucket/") - 1;
    memset(text + prefix, 'n', 1025);

    for (i = 1024; i <= 1025; i++) {
        url = test_bytes(pool, text, prefix + i);

        test_check(ngx_gcs_redirect_location(pool, &conf, &url, &redirect,
                                             &reason)
                   == (i == 1025 ? NGX_DECLINED : NGX_OK), "length of a name");
    }

    ngx_destroy_pool(pool);
}
