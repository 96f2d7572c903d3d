
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_check_cause.h"


static void test_clean(void);
static void test_words(void);
static void test_refusals(void);
static void test_lists(void);
static void test_headers(void);
static void test_rows(void);
static void test_commands(void);
static void test_passed(void);
static void test_formats(void);
static void test_no_memory(void);
static void test_report(ngx_pool_t *pool, ngx_gcs_check_t *check);


int
main(void)
{
    test_clean();
    test_words();
    test_refusals();
    test_lists();
    test_headers();
    test_rows();
    test_commands();
    test_passed();
    test_formats();
    test_no_memory();

    return test_failures;
}


/* no stranger's text acts, and none repeats a secret */

static void
test_clean(void)
{
    size_t       i;
    char         token[400];
    ngx_str_t    in, out;
    ngx_pool_t  *pool;

    static struct {
        char  *in;
        char  *out;
    } table[] = {
        { "", "" },
        { "The bucket \"b\" is gone.", "The bucket \"b\" is gone." },
        { "a\nb\tc\x7f", "a b c " },
        { "a\x1b[31mb", "a [31mb" },
        { "\xc3\xa9\xe6\x97\xa5", "\xc3\xa9\xe6\x97\xa5" },
        { "a\xff\xc3", "a\xef\xbf\xbd\xef\xbf\xbd" },
        { "a\xc2\x9b" "b\xe2\x80\xae" "c\xe2\x81\xa6" "d\xe2\x80\xa8",
          "a b c d " },
        { "a\xe2\x80\x8e" "b\xe2\x80\x8f" "c\xe2\x80\x90",
          "a b c\xe2\x80\x90" },
        { "ya29.x", "..." },
        { "ya29.", "ya29." },
        { "token=ya29.abc,", "token=...," },
        { "/o/ya29.abc", "..." },
        { "(eyJhbGci.eyJ)", "(...)" },
        { "GOCSPX-abc", "..." },
        { "token%3Dya29.abc", "..." },
        { "1//0abc", "..." },
        { "bucket1//0abc", "bucket1//0abc" },
        { "a/keyJson", "a/keyJson" },
        { "reader@p.iam.gserviceaccount.com has",
          "reader@p.iam.gserviceaccount.com has" },
        { NULL, NULL }
    };

    pool = test_pool();

    for (i = 0; table[i].in; i++) {
        in = test_text(pool, table[i].in);
        out = ngx_gcs_check_clean(pool, &in, 100);
        test_check(test_equal(&out, table[i].out), table[i].in);
    }

    /* 64 characters may be a signature, 63 may be a name */

    memset(token, 'a', sizeof(token));

    token[63] = '\0';
    in = test_text(pool, token);
    out = ngx_gcs_check_clean(pool, &in, 400);
    test_check(test_equal(&out, token), "63");

    token[63] = 'a';
    token[64] = '\0';
    in = test_text(pool, token);
    out = ngx_gcs_check_clean(pool, &in, 400);
    test_check(test_equal(&out, "..."), "64");

    memset(token, 'a', sizeof(token));

    for (i = 10; i < sizeof(token); i += 10) {
        token[i] = '/';
    }

    in = test_bytes(pool, token, sizeof(token));
    out = ngx_gcs_check_clean(pool, &in, 25);
    test_check(out.len == 25, "a path is cut");

    /* also in the middle of what stands for a secret, and of a character */

    in = test_text(pool, "ab ya29.x");
    out = ngx_gcs_check_clean(pool, &in, 5);
    test_check(test_equal(&out, "ab .."), NULL);

    in = test_text(pool, "ab\xc3\xa9");
    out = ngx_gcs_check_clean(pool, &in, 3);
    test_check(test_equal(&out, "ab\xef\xbf\xbd"), NULL);

    ngx_destroy_pool(pool);
}


/* what enters a command, and who somebody is */

static void
test_words(void)
{
    size_t       i;
    ngx_str_t    in, out;
    ngx_pool_t  *pool;

    static char  *good[] = {
        "reader@p.iam.gserviceaccount.com", "a", "projects/1/x_y", "p:q+r",
        "//iam.googleapis.com/x", NULL
    };

    static char  *bad[] = {
        "a b", "a;b", "$(x)", "`x`", "a'b", "a\"b", "a|b", "a>b", "-x",
        "a\nb", "a&b", "a*", "\xc3\xa9", "a\\b", "{a,b}", "~", "#", "=", NULL
    };

    static struct {
        char  *in;
        char  *out;
    } who[] = {
        { "r@p.iam.gserviceaccount.com does not have storage.objects.get "
          "access", "serviceAccount:r@p.iam.gserviceaccount.com" },
        { "me@example.com does not have x", "user:me@example.com" },
        { "principal://iam.googleapis.com/x/subject/s does not have x",
          "principal://iam.googleapis.com/x/subject/s" },
        { "Anonymous caller does not have x", "" },
        { "me@example.com has", "" },
        { " does not have x", "" },
        { "a';x@b does not have x", "" },
        { "...@b does not have x", "" },
        { "a...@b does not have x", "" },
        { "caller does not have x", "" },
        { "", "" },
        { NULL, NULL }
    };

    pool = test_pool();

    for (i = 0; good[i]; i++) {
        in = test_text(pool, good[i]);
        out = ngx_gcs_check_word(&in);
        test_check(test_equal(&out, good[i]), good[i]);
    }

    for (i = 0; bad[i]; i++) {
        in = test_text(pool, bad[i]);
        out = ngx_gcs_check_word(&in);
        test_check(out.len == 0, bad[i]);
    }

    in = test_bytes(pool, "a\0b", 3);
    out = ngx_gcs_check_word(&in);
    test_check(out.len == 0, "NUL");

    for (i = 0; who[i].in; i++) {
        in = test_text(pool, who[i].in);
        out = ngx_gcs_check_who(pool, &in);
        test_check(test_equal(&out, who[i].out), who[i].in);
    }

    ngx_destroy_pool(pool);
}


static void
test_refusals(void)
{
    size_t                    i;
    ngx_str_t                 body;
    ngx_pool_t               *pool;
    ngx_gcs_check_refusal_t   refusal;

    static struct {
        char  *body;
        char  *code;
        char  *text;
    } table[] = {
        { "", "", "" },
        { "{\"error\":{\"code\":403,\"message\":\"M\",\"errors\":"
          "[{\"reason\":\"forbidden\",\"message\":\"N\"}]}}",
          "forbidden", "M" },
        { "{\"error\":{\"status\":\"DENIED\",\"message\":\"M\",\"details\":"
          "[{\"reason\":\"SERVICE_DISABLED\"}]}}", "SERVICE_DISABLED", "M" },
        { "{\"error\":{\"status\":\"DENIED\",\"message\":\"M\"}}",
          "DENIED", "M" },
        { "{\"error\":\"x\"}", "", "" },
        { "{\"error\":{\"errors\":{},\"message\":[]}}", "", "" },
        { "[]", "", "" },
        { "<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>M"
          "</Message><Details>D</Details></Error>", "NoSuchKey", "D" },
        { "<Error><Message>M</Message><Code>X</Code></Error>", "X", "M" },
        { "<Error><Code>X</Code></Error>", "X", "" },
        { "<Error><Code>X", "", "" },
        { "<!DOCTYPE html><p>no</p>", "", "" },
        { "No such object: b/o", "", "No such object: b/o" },
        { "{\"error\"", "", "{\"error\"" },
        { NULL, NULL, NULL }
    };

    pool = test_pool();

    for (i = 0; table[i].body; i++) {
        body = test_text(pool, table[i].body);

        test_check(ngx_gcs_check_refusal(pool, 403, &body, &refusal)
                   == NGX_OK, table[i].body);
        test_check(refusal.status == 403, table[i].body);
        test_check(test_equal(&refusal.code, table[i].code), table[i].body);
        test_check(test_equal(&refusal.text, table[i].text), table[i].body);
    }

    ngx_destroy_pool(pool);
}


static void
test_lists(void)
{
    size_t                 i;
    ngx_str_t              body, name;
    ngx_uint_t             held;
    ngx_pool_t            *pool;
    ngx_gcs_check_list_t   list;

    static char  *names[] = { "a", "b", NULL };
    static char  *named[] = {
        "{\"location\":\"EU\",\"name\":\"the-bucket\"}",
        "{\"name\":\"the-bucke\"}", "{\"name\":\"the-buckets\"}",
        "{\"name\":\"the-bucker\"}", "{\"name\":5}", "{}", "[]",
        "\"the-bucket\"", "{\"name\":\"the-buck", "<html>", ""
    };

    static struct {
        ngx_uint_t   xml;
        char        *body;
        ngx_int_t    rc;
        ngx_uint_t   count;
        char        *name;
        off_t        size;
        char        *next;
    } table[] = {
        { 0, "{}", NGX_OK, 0, "", -1, "" },
        { 0, "{\"items\":[]}", NGX_OK, 0, "", -1, "" },
        { 0, "{\"items\":[{\"name\":\"a\",\"size\":\"7\"}],"
             "\"nextPageToken\":\"t\"}", NGX_OK, 1, "a", 7, "t" },
        { 0, "{\"items\":[{\"name\":\"a/\",\"size\":\"0\"},"
             "{\"name\":\"e\",\"size\":\"0\"},"
             "{\"name\":\"b\",\"size\":\"1\"},"
             "{\"name\":\"c\",\"size\":\"2\"}]}", NGX_OK, 4, "b", 1, "" },
        { 0, "{\"items\":[{\"name\":\"e\",\"size\":\"0\"},"
             "{\"name\":\"f\",\"size\":\"0\"}]}", NGX_OK, 2, "e", 0, "" },
        { 0, "{\"items\":[{\"name\":\"a/\",\"size\":\"5\"}]}",
          NGX_OK, 1, "", -1, "" },
        { 0, "{\"items\":[{\"name\":\"a\"}]}", NGX_OK, 1, "a", -1, "" },
        { 0, "{\"items\":[{\"name\":\"a\",\"size\":\"-1\"}]}",
          NGX_OK, 1, "a", -1, "" },
        { 0, "{\"items\":[{}]}", NGX_DECLINED, 0, "", -1, "" },
        { 0, "{\"items\":5,\"nextPageToken\":6}", NGX_OK, 0, "", -1, "" },
        { 0, "[]", NGX_DECLINED, 0, "", -1, "" },
        { 0, "<html>", NGX_DECLINED, 0, "", -1, "" },
        { 0, "", NGX_DECLINED, 0, "", -1, "" },
        { 1, "<ListBucketResult xmlns='x'></ListBucketResult>",
          NGX_OK, 0, "", -1, "" },
        { 1, "<ListBucketResult><Contents><Key>a%20b/</Key><Size>0</Size>"
             "</Contents><Contents><Key>a%20b/c%26%2B</Key><Size>9</Size>"
             "</Contents><NextContinuationToken>t=</NextContinuationToken>"
             "</ListBucketResult>", NGX_OK, 2, "a b/c&+", 9, "t=" },
        { 1, "<ListBucketResult><Contents><Key>a</Key></Contents>"
             "<Contents><Size>8</Size><Key>b</Key></Contents>"
             "</ListBucketResult>", NGX_OK, 2, "b", 8, "" },
        { 1, "<ListBucketResult><Contents></Contents></ListBucketResult>",
          NGX_DECLINED, 0, "", -1, "" },
        { 1, "<html>", NGX_DECLINED, 0, "", -1, "" },
        { 1, "", NGX_DECLINED, 0, "", -1, "" },
        { 0, NULL, 0, 0, NULL, 0, NULL }
    };

    pool = test_pool();

    for (i = 0; table[i].body; i++) {
        body = test_text(pool, table[i].body);

        test_check(ngx_gcs_check_list(pool, &body, table[i].xml, &list)
                   == table[i].rc, table[i].body);

        if (table[i].rc != NGX_OK) {
            continue;
        }

        test_check(list.count == table[i].count, table[i].body);
        test_check(test_equal(&list.name, table[i].name), table[i].body);
        test_check(list.size == table[i].size, table[i].body);
        test_check(test_equal(&list.next, table[i].next), table[i].body);
    }

    name = test_text(pool, "the-bucket");

    for (i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        body = test_text(pool, named[i]);
        test_check(ngx_gcs_check_named(&body, &name) == (i == 0), named[i]);
    }

    body = test_text(pool, "{\"permissions\":[\"b\",\"x\",5]}");
    test_check(ngx_gcs_check_permissions(&body, names, &held) == NGX_OK
               && held == 2, NULL);

    body = test_text(pool, "{\"kind\":\"x\"}");
    test_check(ngx_gcs_check_permissions(&body, names, &held) == NGX_OK
               && held == 0, NULL);

    body = test_text(pool, "<html>");
    test_check(ngx_gcs_check_permissions(&body, names, &held)
               == NGX_DECLINED, NULL);

    body.len = 0;
    test_check(ngx_gcs_check_permissions(&body, names, &held)
               == NGX_DECLINED, NULL);

    ngx_destroy_pool(pool);
}


static void
test_headers(void)
{
    size_t       i;
    time_t       skew;
    ngx_str_t    origin, allowed, exposed, text;
    ngx_pool_t  *pool;

    static struct {
        char       *value;
        off_t       size;
        ngx_uint_t  ok;
    } ranges[] = {
        { "bytes 0-0/10", 10, 1 }, { "bytes 0-0/10", -1, 1 },
        { "bytes 0-0/10", 11, 0 }, { "bytes 0-0/0", -1, 0 },
        { "bytes 0-0/*", -1, 0 }, { "bytes 0-0/", -1, 0 },
        { "bytes 0-1/10", 10, 0 }, { "", 10, 0 }, { NULL, 0, 0 }
    };

    static struct {
        char       *allowed;
        char       *exposed;
        ngx_int_t   rc;
    } cors[] = {
        { "http://a", "Content-Range", NGX_OK },
        { "*", "ETag, content-range , X", NGX_OK },
        { "*", "*", NGX_OK },
        { "*", "", NGX_AGAIN },
        { "*", "X-Content-Range, Content-Range2", NGX_AGAIN },
        { "*", ",,, \t", NGX_AGAIN },
        { "", "Content-Range", NGX_DECLINED },
        { "http://b", "Content-Range", NGX_DECLINED },
        { "http://a.b", "Content-Range", NGX_DECLINED },
        { "null", "Content-Range", NGX_DECLINED },
        { NULL, NULL, 0 }
    };

    pool = test_pool();

    for (i = 0; ranges[i].value; i++) {
        text = test_text(pool, ranges[i].value);
        test_check(ngx_gcs_check_first_byte(&text, ranges[i].size)
                   == ranges[i].ok, ranges[i].value);
    }

    origin = test_text(pool, "http://a");

    for (i = 0; cors[i].allowed; i++) {
        allowed = test_text(pool, cors[i].allowed);
        exposed = test_text(pool, cors[i].exposed);
        test_check(ngx_gcs_check_cors(&origin, &allowed, &exposed)
                   == cors[i].rc, cors[i].exposed);
    }

    text = test_text(pool, "Thu, 01 Jan 1970 00:01:40 GMT");
    test_check(ngx_gcs_check_skew(&text, 90, &skew) == NGX_OK && skew == -10,
               NULL);

    text = test_text(pool, "x");
    test_check(ngx_gcs_check_skew(&text, 90, &skew) == NGX_DECLINED, NULL);

    text.len = 0;
    test_check(ngx_gcs_check_skew(&text, 90, &skew) == NGX_DECLINED, NULL);

    text = test_text(pool, "range");
    test_check(ngx_gcs_check_find(&text) == NGX_GCS_CHECK_RANGE, NULL);

    text = test_text(pool, "rang");
    test_check(ngx_gcs_check_find(&text) == NGX_ERROR, NULL);

    ngx_destroy_pool(pool);
}


/* none is hidden by one before it, in any of its steps */

static void
test_rows(void)
{
    ngx_uint_t                i, found;
    ngx_pool_t               *pool;
    ngx_gcs_check_t           check;
    ngx_gcs_check_cause_t    *row;
    ngx_gcs_check_refusal_t   refusal;

    for (row = ngx_gcs_check_causes; row->steps; row++) {
        found = 0;

        for (i = 0; i < NGX_GCS_CHECK_STEPS; i++) {

            if (!(row->steps & ngx_gcs_check_bit(i))) {
                continue;
            }

            pool = test_pool();
            test_report(pool, &check);

            ngx_memzero(&refusal, sizeof(ngx_gcs_check_refusal_t));

            refusal.status = row->status < 10 ? row->status * 100
                                              : row->status;
            if (row->code) {
                refusal.code = test_text(pool, row->code);
            }

            if (row->text) {
                refusal.text = test_text(pool, row->text);
            }

            ngx_gcs_check_explain(&check, i, &refusal);

            found |= (check.steps[i].cause == row->cause
                      && check.steps[i].remedy == row->remedy);

            ngx_destroy_pool(pool);
        }

        test_check(found, row->cause);
        test_check(row->remedy != NULL, row->cause);
    }

    test_check(row->cause != NULL && row->remedy != NULL, "the last row");
}


/* values stand where they belong; of those that are not known, names */

static void
test_commands(void)
{
    char                     *p;
    ngx_uint_t                i, n;
    ngx_pool_t               *pool;
    ngx_gcs_check_t           check;
    ngx_gcs_check_step_t     *step;
    ngx_gcs_check_cause_t    *row;
    ngx_gcs_check_refusal_t   refusal;

    pool = test_pool();
    test_report(pool, &check);

    ngx_memzero(&refusal, sizeof(ngx_gcs_check_refusal_t));

    refusal.status = 403;
    refusal.text = test_text(pool, "x does not have storage.objects.list");

    step = &check.steps[NGX_GCS_CHECK_LIST];

    ngx_gcs_check_explain(&check, NGX_GCS_CHECK_LIST, &refusal);

    test_check(test_equal(&step->command, "gcloud storage buckets "
        "add-iam-policy-binding gs://the-bucket --member='user:me@x.y' "
        "--role=roles/storage.objectViewer"), NULL);
    test_check(test_equal(&step->error,
                          "403: x does not have storage.objects.list"), NULL);

    ngx_str_null(&check.member);

    ngx_gcs_check_explain(&check, NGX_GCS_CHECK_LIST, &refusal);

    test_check(test_contains(&step->command, "--member='MEMBER'"), NULL);

    ngx_gcs_check_because(&check, NGX_GCS_CHECK_LIST, "prefix_empty");

    test_check(test_equal(&step->command, "gcloud storage ls gs://the-bucket/"
                          ), NULL);

    /* no letter that has no value, and quotes are closed */

    for (row = ngx_gcs_check_causes; row->steps; row++) {
        n = 0;

        for (p = row->command; p && *p; p++) {
            n += (*p == '\'');

            if (*p == '$') {
                p++;
                test_check(strchr("BMCTPUHNWO", *p) != NULL, row->command);
            }
        }

        test_check(n % 2 == 0, row->command);
    }

    for (i = 0; i < NGX_GCS_CHECK_STEPS; i++) {
        refusal.status = 418;
        ngx_str_null(&refusal.text);

        ngx_gcs_check_explain(&check, i, &refusal);
        test_check(check.steps[i].cause != NULL, NULL);
        test_check(test_equal(&check.steps[i].error, "418"), NULL);
    }

    ngx_destroy_pool(pool);
}


static void
test_passed(void)
{
    ngx_pool_t            *pool;
    ngx_gcs_check_t        check;
    ngx_gcs_check_step_t  *step;

    pool = test_pool();
    test_report(pool, &check);

    step = &check.steps[NGX_GCS_CHECK_READ];

    test_check(ngx_gcs_check_passed(&check), "nothing is required");

    step->required = 1;
    test_check(!ngx_gcs_check_passed(&check), "skipped");

    step->exempt = 1;
    test_check(ngx_gcs_check_passed(&check), "skipped, as it should be");

    step->status = NGX_GCS_CHECK_FAILED;
    test_check(!ngx_gcs_check_passed(&check), "failed");

    step->status = NGX_GCS_CHECK_OK;
    step->exempt = 0;
    step->warning = 1;
    test_check(ngx_gcs_check_passed(&check), "ok, with a warning");

    ngx_destroy_pool(pool);
}


/* whatever stands in it, JSON is JSON, and nothing is a tag of HTML */

static void
test_formats(void)
{
    u_char                *p;
    size_t                 n;
    json_t                *json, *member;
    ngx_str_t              out;
    ngx_uint_t             i;
    ngx_pool_t            *pool;
    ngx_gcs_check_t        check;
    ngx_gcs_check_step_t  *step;

    static char  evil[] = "</script><b \"'&\\\x01\n\xff";

    pool = test_pool();
    test_report(pool, &check);

    check.url = test_text(pool, evil);
    check.account = test_text(pool, evil);
    check.when = 100;
    check.msec = 7;

    step = &check.steps[NGX_GCS_CHECK_LIST];

    step->error = test_text(pool, evil);
    step->command = test_text(pool, evil);
    step->cause = evil;

    ngx_gcs_check_say(&check, NGX_GCS_CHECK_LIST, NGX_GCS_CHECK_FAILED, "%s",
                      evil);

    test_check(ngx_gcs_check_json(pool, &check, 103, 0, &out) == NGX_OK, NULL);

    json = json_loadb((char *) out.data, out.len, JSON_REJECT_DUPLICATES,
                      NULL);
    test_check(json_is_object(json), NULL);
    test_check(json_integer_value(json_object_get(json, "age")) == 3, NULL);
    test_check(strcmp(json_string_value(json_object_get(json, "checked")),
                      "1970-01-01T00:01:40Z") == 0, NULL);
    test_check(json_array_size(json_object_get(json, "steps"))
               == NGX_GCS_CHECK_STEPS, NULL);

    member = json_array_get(json_object_get(json, "steps"),
                            NGX_GCS_CHECK_LIST);
    test_check(strcmp(json_string_value(json_object_get(member, "message")),
                      "</script><b \"'&\\\x01\n\xef\xbf\xbd") == 0, NULL);

    json_decref(json);

    /* a clock that was set back */

    test_check(ngx_gcs_check_json(pool, &check, 50, 0, &out) == NGX_OK
               && test_contains(&out, "\"age\":0,"), NULL);

    test_check(ngx_gcs_check_html(pool, &check, 103, 0, &out) == NGX_OK, NULL);
    test_check(test_contains(&out, "&lt;/script&gt;&lt;b &quot;&#39;&amp;"),
               NULL);
    test_check(!test_contains(&out, "</script"), NULL);

    n = 0;

    for (p = out.data, i = 0; i < out.len; i++) {
        n += (p[i] == '<') - (p[i] == '>');
        test_check(n <= 1, "tags within tags");
    }

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    ngx_int_t                 rc;
    ngx_str_t                 json, xml, out, error;
    ngx_uint_t                at;
    ngx_pool_t               *pool, *keep;
    ngx_gcs_check_t           check;
    ngx_gcs_check_list_t      list;
    ngx_gcs_check_refusal_t   refusal;

    keep = test_pool();

    json = test_text(keep, "{\"items\":[{\"name\":\"a\",\"size\":\"1\"}],"
                           "\"nextPageToken\":\"t\"}");
    xml = test_text(keep, "<ListBucketResult><Contents><Key>a</Key>"
                          "</Contents><NextContinuationToken>t"
                          "</NextContinuationToken></ListBucketResult>");
    error = test_text(keep, "<Error><Code>X</Code><Message>M</Message>"
                            "</Error>");

    for (at = 1, rc = NGX_ERROR; rc != NGX_OK && at < 10000; at++) {
        pool = test_pool();

        shim_allocs = 0;
        shim_fail_at = at;

        rc = NGX_OK;

        if (ngx_gcs_check_list(pool, &json, 0, &list) == NGX_ERROR
            || ngx_gcs_check_list(pool, &xml, 1, &list) == NGX_ERROR
            || ngx_gcs_check_refusal(pool, 403, &error, &refusal)
               == NGX_ERROR)
        {
            rc = NGX_ERROR;
        }

        shim_fail_at = 0;

        ngx_destroy_pool(pool);
    }

    test_check(at > 5 && at < 10000, "every allocation has failed once");

    for (at = 1, rc = NGX_ERROR; rc != NGX_OK && at < 10000; at++) {
        pool = test_pool();
        test_report(pool, &check);

        ngx_memzero(&refusal, sizeof(ngx_gcs_check_refusal_t));
        refusal.status = 403;

        shim_allocs = 0;
        shim_fail_at = at;

        ngx_gcs_check_say(&check, NGX_GCS_CHECK_LIST, NGX_GCS_CHECK_FAILED,
                          "x");
        ngx_gcs_check_explain(&check, NGX_GCS_CHECK_LIST, &refusal);

        rc = NGX_OK;

        if (ngx_gcs_check_json(pool, &check, 0, 0, &out) != NGX_OK
            || ngx_gcs_check_html(pool, &check, 0, 0, &out) != NGX_OK
            || shim_allocs >= at)
        {
            rc = NGX_ERROR;
        }

        shim_fail_at = 0;

        ngx_destroy_pool(pool);
    }

    test_check(at > 5 && at < 10000, "every allocation has failed once");

    ngx_destroy_pool(keep);
}


static void
test_report(ngx_pool_t *pool, ngx_gcs_check_t *check)
{
    ngx_memzero(check, sizeof(ngx_gcs_check_t));

    check->pool = pool;
    check->url = test_text(pool, "gs://the-bucket/p/");
    check->bucket = test_text(pool, "the-bucket");
    check->member = test_text(pool, "user:me@x.y");
}
