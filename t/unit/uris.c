
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * Reads what an application says about where an object is, for comparison
 * with what others read: a line of JSON on standard input is a question, one
 * on standard output the answer.
 *
 *     {"query": TEXT}
 *     {"location": TEXT, "hosts": [TEXT, ...], "universe": TEXT}
 *     {"accel": TEXT, ...}
 */


#include "shim.h"

#include "ngx_gcs_fileuri.h"
#include "ngx_gcs_redirect.h"


static json_t *uris_answer(ngx_pool_t *pool, json_t *in);
static json_t *uris_query(ngx_pool_t *pool, json_t *in);
static json_t *uris_redirect(ngx_pool_t *pool, json_t *in);
static ngx_array_t *uris_hosts(ngx_pool_t *pool, json_t *in);
static ngx_str_t uris_text(ngx_pool_t *pool, json_t *value);
static void uris_set(json_t *out, const char *name, ngx_str_t *text);


int
main(void)
{
    return test_asked(uris_answer);
}


static json_t *
uris_answer(ngx_pool_t *pool, json_t *in)
{
    return json_object_get(in, "query") ? uris_query(pool, in)
                                        : uris_redirect(pool, in);
}


static json_t *
uris_query(ngx_pool_t *pool, json_t *in)
{
    char              *reason;
    json_t            *out;
    ngx_int_t          rc;
    ngx_str_t          query;
    ngx_gcs_object_t   object;

    query = uris_text(pool, json_object_get(in, "query"));

    rc = ngx_gcs_fileuri(pool, &query, &object, &reason);

    if (rc != NGX_OK) {
        return json_pack("{s:s}", "reason", reason);
    }

    out = json_object();

    uris_set(out, "bucket", &object.bucket);
    uris_set(out, "object", &object.name);

    return out;
}


static json_t *
uris_redirect(ngx_pool_t *pool, json_t *in)
{
    char                     *reason;
    json_t                   *out, *value;
    ngx_int_t                 rc;
    ngx_str_t                 text;
    ngx_gcs_redirect_t        redirect;
    ngx_gcs_redirect_conf_t   conf;

    conf.hosts = uris_hosts(pool, in);
    conf.universe = uris_text(pool, json_object_get(in, "universe"));

    value = json_object_get(in, "accel");

    if (value) {
        text = uris_text(pool, value);
        rc = ngx_gcs_redirect_accel(pool, &conf, &text, &redirect, &reason);

    } else {
        text = uris_text(pool, json_object_get(in, "location"));
        rc = ngx_gcs_redirect_location(pool, &conf, &text, &redirect, &reason);
    }

    if (rc != NGX_OK) {
        return json_pack("{s:s}", "reason", reason);
    }

    out = json_pack("{s:i, s:i, s:I, s:b, s:b}",
                    "style", (int) redirect.style,
                    "signature", (int) redirect.signature,
                    "expires", (json_int_t) redirect.expires,
                    "https", (int) redirect.https,
                    "other", (int) redirect.other);

    uris_set(out, "bucket", &redirect.object.bucket);
    uris_set(out, "object", &redirect.object.name);
    uris_set(out, "host", &redirect.host);
    uris_set(out, "target", &redirect.target);
    uris_set(out, "disposition", &redirect.disposition);
    uris_set(out, "type", &redirect.type);
    uris_set(out, "generation", &redirect.generation);
    uris_set(out, "user_project", &redirect.user_project);

    return out;
}


static ngx_array_t *
uris_hosts(ngx_pool_t *pool, json_t *in)
{
    size_t                    i;
    json_t                   *value;
    ngx_str_t                 text;
    ngx_array_t              *hosts;
    ngx_gcs_redirect_host_t  *host;

    hosts = ngx_array_create(pool, 1, sizeof(ngx_gcs_redirect_host_t));

    json_array_foreach(json_object_get(in, "hosts"), i, value) {
        host = ngx_array_push(hosts);
        text = uris_text(pool, value);

        if (ngx_gcs_redirect_host(&text, host) != NULL) {
            abort();
        }
    }

    return hosts;
}


/* "" for what is not there */

static ngx_str_t
uris_text(ngx_pool_t *pool, json_t *value)
{
    return test_bytes(pool,
                      value ? json_string_value(value) : "",
                      value ? json_string_length(value) : 0);
}


/* null: there is none, or it is not UTF-8 */

static void
uris_set(json_t *out, const char *name, ngx_str_t *text)
{
    json_t  *value;

    value = text->data ? json_stringn((char *) text->data, text->len) : NULL;

    json_object_set_new(out, name, value ? value : json_null());
}
