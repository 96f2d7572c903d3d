
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include "ngx_gcs_metrics.h"


#define TEST_PROCESSES  4
#define TEST_TIMES    20000


static void test_keys(void);
static void test_buckets(void);
static void test_full(void);
static void test_half_made(void);
static void test_inherit(void);
static void test_codes(void);
static void test_histogram(void);
static void test_processes(void);
static void test_process(ngx_gcs_metrics_table_t *table);
static void test_utf8(void);
static void test_formats(void);
static void test_no_memory(void);
static ngx_gcs_metrics_table_t *test_table(ngx_uint_t nrows);
static ngx_gcs_metrics_row_t *test_location(ngx_gcs_metrics_table_t *table,
    char *server, char *name);
static ngx_gcs_metrics_row_t *test_bucket(ngx_gcs_metrics_table_t *table,
    ngx_gcs_metrics_row_t *location, const char *name);
static void test_page(ngx_pool_t *pool, ngx_gcs_metrics_table_t *table,
    ngx_gcs_metrics_page_t *page);


int
main(void)
{
    test_keys();
    test_buckets();
    test_full();
    test_half_made();
    test_inherit();
    test_codes();
    test_histogram();
    test_processes();
    test_utf8();
    test_formats();
    test_no_memory();

    return test_failures;
}


static ngx_gcs_metrics_table_t *
test_table(ngx_uint_t nrows)
{
    ngx_gcs_metrics_table_t  *table;

    table = calloc(1, ngx_gcs_metrics_size(nrows));
    test_check(table, NULL);

    ngx_gcs_metrics_init(table, nrows);
    test_check(ngx_gcs_metrics_check(table), NULL);

    return table;
}


static ngx_gcs_metrics_row_t *
test_location(ngx_gcs_metrics_table_t *table, char *server, char *name)
{
    ngx_str_t  a, b;

    a.data = (u_char *) server;
    a.len = strlen(server);
    b.data = (u_char *) name;
    b.len = strlen(name);

    return ngx_gcs_metrics_row(table, NGX_GCS_METRICS_LOCATION, &a, &b);
}


static ngx_gcs_metrics_row_t *
test_bucket(ngx_gcs_metrics_table_t *table, ngx_gcs_metrics_row_t *location,
    const char *name)
{
    ngx_str_t  bucket;

    bucket.data = (u_char *) name;
    bucket.len = strlen(name);

    return ngx_gcs_metrics_bucket(table, location, &bucket);
}


/* what has other names has another row, however they are cut */

static void
test_keys(void)
{
    ngx_str_t                 name;
    ngx_gcs_metrics_row_t    *row, *other;
    ngx_gcs_metrics_table_t  *table;

    table = test_table(128);

    row = test_location(table, "a", "b");

    test_check(row, NULL);
    test_check(row == test_location(table, "a", "b"), NULL);
    test_check(row != test_location(table, "ab", ""), NULL);
    test_check(row != test_location(table, "", "ab"), NULL);
    test_check(row != test_location(table, "b", "a"), NULL);

    ngx_str_set(&name, "a");

    other = ngx_gcs_metrics_row(table, NGX_GCS_METRICS_CREDENTIALS, &name,
                                NULL);

    test_check(other && other != row, NULL);
    test_check(other != test_location(table, "a", ""), NULL);
    test_check(ngx_gcs_metrics_used(table) == 6, NULL);

    test_check(test_bucket(table, row, "x") == test_bucket(table, row, "x"),
               NULL);
    test_check(test_bucket(table, row, "x") != test_bucket(table, other, "x"),
               NULL);

    table->magic++;
    test_check(!ngx_gcs_metrics_check(table), NULL);

    table->magic--;
    table->nrows = 127;
    test_check(!ngx_gcs_metrics_check(table), NULL);

    free(table);

    test_check(ngx_gcs_metrics_rows(0) == 128, NULL);
    test_check(ngx_gcs_metrics_rows(64) == 128, NULL);
    test_check(ngx_gcs_metrics_rows(65) == 256, NULL);
}


/* too many share one row; the one of no name is none of them */

static void
test_buckets(void)
{
    char                      name[300];
    ngx_uint_t                i;
    ngx_gcs_metrics_row_t    *location, *none, *row, *other;
    ngx_gcs_metrics_table_t  *table;

    table = test_table(256);
    location = test_location(table, "", "/");
    none = test_bucket(table, location, "");

    for (i = 0; i < NGX_GCS_METRICS_BUCKETS; i++) {
        sprintf(name, "bucket-%d", (int) i);

        row = test_bucket(table, location, name);

        test_check(row->ready == strlen(name) + 1, name);
        test_check(memcmp(row->name, name, strlen(name)) == 0, name);
        test_check(row->owner == location->key, name);
    }

    other = test_bucket(table, location, "one-more");

    test_check(other->ready == sizeof("(other)"), NULL);
    test_check(memcmp(other->name, "(other)", 7) == 0, NULL);
    test_check(other == test_bucket(table, location, "and-another"), NULL);
    test_check(row == test_bucket(table, location, name), NULL);
    test_check(none == test_bucket(table, location, ""), NULL);
    test_check(none->ready == 1, NULL);

    /* location, no name, all names, all others */

    test_check(ngx_gcs_metrics_used(table) == NGX_GCS_METRICS_BUCKETS + 3,
               NULL);

    /* a name that no bucket has */

    location = test_location(table, "", "/long");
    memset(name, 'a', sizeof(name));
    name[NGX_GCS_METRICS_NAME + 1] = '\0';

    row = test_bucket(table, location, name);
    test_check(memcmp(row->name, "(other)", 8) == 0, NULL);

    name[NGX_GCS_METRICS_NAME] = '\0';

    row = test_bucket(table, location, name);
    test_check(row->ready == NGX_GCS_METRICS_NAME + 1, NULL);

    free(table);
}


static void
test_full(void)
{
    char                      name[32];
    ngx_uint_t                i;
    ngx_gcs_metrics_row_t    *row;
    ngx_gcs_metrics_table_t  *table;

    table = test_table(128);

    for (i = 0; i < 128; i++) {
        sprintf(name, "/%d", (int) i);
        test_check(test_location(table, "", name), name);
    }

    row = test_location(table, "", "/7");

    test_check(row, NULL);
    test_check(test_location(table, "", "/new") == NULL, NULL);
    test_check(test_bucket(table, row, "new") == NULL, NULL);

    free(table);
}


/* a process was killed when it had claimed a row, but not described it */

static void
test_half_made(void)
{
    ngx_gcs_metrics_row_t    *location, *row;
    ngx_gcs_metrics_table_t  *table;

    table = test_table(128);
    location = test_location(table, "", "/");
    row = test_bucket(table, location, "bucket");

    row->owner = 0;
    row->ready = 0;
    memset(row->name, 0, sizeof(row->name));

    test_check(row == test_bucket(table, location, "bucket"), NULL);
    test_check(row->ready == 7 && row->owner == location->key, NULL);
    test_check(memcmp(row->name, "bucket", 6) == 0, NULL);

    free(table);
}


static void
test_inherit(void)
{
    char                      name[32];
    ngx_uint_t                i;
    ngx_gcs_metrics_row_t    *kept, *gone, *row;
    ngx_gcs_metrics_table_t  *from, *table;

    from = test_table(128);
    table = test_table(256);

    kept = test_location(from, "", "/kept");
    gone = test_location(from, "", "/gone");

    kept->counters[0] = 3;
    test_bucket(from, kept, "a")->counters[5] = 7;
    test_bucket(from, kept, "b")->counters[NGX_GCS_METRICS_RETRIES] = 11;
    test_bucket(from, gone, "c")->counters[0] = 13;

    row = test_location(table, "", "/kept");
    ngx_gcs_metrics_inherit(table, row, from);

    test_check(row->counters[0] == 3, NULL);
    test_check(row->counters[NGX_GCS_METRICS_USED] == 2, NULL);
    test_check(ngx_gcs_metrics_used(table) == 3, NULL);
    test_check(test_bucket(table, row, "a")->counters[5] == 7, NULL);
    test_check(test_bucket(table, row, "b")
                   ->counters[NGX_GCS_METRICS_RETRIES] == 11, NULL);
    test_check(ngx_gcs_metrics_used(table) == 3, NULL);

    free(table);

    /* a full one takes none of the buckets */

    table = test_table(128);
    row = test_location(table, "", "/kept");

    for (i = 1; i < 128; i++) {
        sprintf(name, "/%d", (int) i);
        test_check(test_location(table, "", name), name);
    }

    ngx_gcs_metrics_inherit(table, row, from);

    test_check(row->counters[NGX_GCS_METRICS_USED] == 0, NULL);
    test_check(ngx_gcs_metrics_used(table) == 128, NULL);

    free(table);
    free(from);
}


static void
test_codes(void)
{
    char        number[8], *name;
    ngx_uint_t  i, status;

    ngx_str_t   word;

    static ngx_uint_t  exact[] = {
        200, 206, 304, 403, 404, 412, 416, 429, 502, 503, 504
    };

    for (status = 0; status < 1100; status++) {
        name = ngx_gcs_metrics_codes[ngx_gcs_metrics_code(status)
                                     - NGX_GCS_METRICS_CODE];

        if (status < 100 || status > 599) {
            sprintf(number, "000");

        } else {
            sprintf(number, "%dxx", (int) status / 100);
        }

        for (i = 0; i < sizeof(exact) / sizeof(exact[0]); i++) {
            if (exact[i] == status) {
                sprintf(number, "%d", (int) status);
            }
        }

        test_check(strcmp(name, number) == 0, number);
    }

    for (i = 0; i < NGX_GCS_METRICS_VERDICTS; i++) {
        word.data = (u_char *) ngx_gcs_metrics_verdicts[i];
        word.len = strlen(ngx_gcs_metrics_verdicts[i]);

        test_check(ngx_gcs_metrics_verdict(&word)
                   == (ngx_int_t) (NGX_GCS_METRICS_VERDICT + i), NULL);

        word.len--;
        test_check(ngx_gcs_metrics_verdict(&word) == NGX_ERROR, NULL);
    }
}


/* a limit is part of what is below it */

static void
test_histogram(void)
{
    ngx_uint_t             i;
    ngx_gcs_metrics_row_t  row;

    static struct {
        ngx_msec_t   msec;
        ngx_uint_t   bucket;
    }  t[] = {
        { 0, 0 }, { 5, 0 }, { 6, 1 }, { 10, 1 }, { 11, 2 }, { 25, 2 },
        { 26, 3 }, { 50, 3 }, { 51, 4 }, { 100, 4 }, { 101, 5 }, { 250, 5 },
        { 251, 6 }, { 500, 6 }, { 501, 7 }, { 1000, 7 }, { 1001, 8 },
        { 2500, 8 }, { 2501, 9 }, { 5000, 9 }, { 5001, 10 }, { 10000, 10 },
        { 10001, 11 }, { 30000, 11 }, { 30001, 12 }, { 60000, 12 },
        { 60001, 13 }, { 86400000, 13 }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        memset(&row, 0, sizeof(row));

        ngx_gcs_metrics_time(&row, t[i].msec);

        test_check(row.counters[NGX_GCS_METRICS_TIME + t[i].bucket] == 1,
                   ngx_gcs_metrics_times[t[i].bucket]);
        test_check(row.counters[NGX_GCS_METRICS_MSEC] == t[i].msec, NULL);
    }

    /* where nothing is counted there is no row */

    ngx_gcs_metrics_time(NULL, 1);
}


/* at the same time: nothing is lost, and nothing is there twice */

static void
test_processes(void)
{
    int                       status;
    char                      name[16];
    pid_t                     pid;
    ngx_uint_t                i, sum, rows;
    ngx_gcs_metrics_row_t    *location;
    ngx_gcs_metrics_table_t  *table;

    table = mmap(NULL, ngx_gcs_metrics_size(256), PROT_READ|PROT_WRITE,
                 MAP_SHARED|MAP_ANONYMOUS, -1, 0);
    test_check(table != MAP_FAILED, NULL);

    ngx_gcs_metrics_init(table, 256);

    for (i = 0; i < TEST_PROCESSES; i++) {
        pid = fork();
        test_check(pid != -1, NULL);

        if (pid == 0) {
            test_process(table);
            _exit(0);
        }
    }

    for (i = 0; i < TEST_PROCESSES; i++) {
        test_check(wait(&status) > 0 && status == 0, NULL);
    }

    location = test_location(table, "", "/");
    sum = 0;
    rows = 0;

    for (i = 0; i < table->nrows; i++) {
        if (table->rows[i].owner == location->key
            && &table->rows[i] != location)
        {
            sum += table->rows[i].counters[0];
            rows++;
        }
    }

    test_check(sum == TEST_PROCESSES * TEST_TIMES, NULL);
    test_check(rows == 50, NULL);
    test_check(location->counters[NGX_GCS_METRICS_USED] == 50, NULL);

    for (i = 0; i < 50; i++) {
        sprintf(name, "bucket-%d", (int) i);
        test_check(test_bucket(table, location, name)->counters[0]
                   == TEST_PROCESSES * TEST_TIMES / 50, name);
    }

    munmap(table, ngx_gcs_metrics_size(256));
}


static void
test_process(ngx_gcs_metrics_table_t *table)
{
    char                    name[16];
    ngx_uint_t              i;
    ngx_gcs_metrics_row_t  *row;

    for (i = 0; i < TEST_TIMES; i++) {
        sprintf(name, "bucket-%d", (int) i % 50);
        row = test_bucket(table, test_location(table, "", "/"), name);
        ngx_gcs_metrics_add(row, 0, 1);
    }
}


#define BAD  "\xef\xbf\xbd"

static void
test_utf8(void)
{
    ngx_str_t    text, clean;
    ngx_uint_t   i;
    ngx_pool_t  *pool;

    static const char *t[][2] = {
        { "", "" },
        { "/media/\x7f \"\\\n", "/media/\x7f \"\\\n" },
        { "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", /* one of each length */
          "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "a\xe4z", "a" BAD "z" },
        { "\xc3", BAD },
        { "\xe2\x82", BAD BAD },
        { "\xf0\x9f\x98", BAD BAD BAD },
        { "\xc0\xaf", BAD BAD },                  /* longer than needed */
        { "\xe0\x80\xaf", BAD BAD BAD },
        { "\xf0\x80\x80\xaf", BAD BAD BAD BAD },
        { "\xed\xa0\x80", BAD BAD BAD },          /* a surrogate */
        { "\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80" },
        { "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },
        { "\xf4\x90\x80\x80", BAD BAD BAD BAD },  /* there is no such one */
        { "\xf5\x80\x80\x80", BAD BAD BAD BAD },
        { "\xe2\x82z", BAD BAD "z" },
        { "\xff\xfe\x80", BAD BAD BAD }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        pool = test_pool();
        text = test_text(pool, t[i][0]);
        clean = ngx_gcs_metrics_clean(pool, &text);

        test_check(test_equal(&clean, t[i][1]), t[i][1]);

        ngx_destroy_pool(pool);
    }
}


static void
test_page(ngx_pool_t *pool, ngx_gcs_metrics_table_t *table,
    ngx_gcs_metrics_page_t *page)
{
    ngx_str_t                       name;
    ngx_gcs_metrics_row_t          *location;
    ngx_gcs_metrics_requests_t     *requests;
    ngx_gcs_metrics_credentials_t  *credentials;

    static ngx_str_t  valid = ngx_string("valid");

    memset(page, 0, sizeof(*page));

    page->version = test_text(pool, "1.2.3");

    page->requests = *ngx_array_create(pool, 2, sizeof(*requests));
    page->takeovers = *ngx_array_create(pool, 2, sizeof(*requests));
    page->credentials = *ngx_array_create(pool, 2, sizeof(*credentials));

    location = test_location(table, "s", "~ \"\\\n\x01");
    location->counters[NGX_GCS_METRICS_VERDICT + 3] = 17;

    requests = ngx_array_push(&page->requests);
    requests->server = test_text(pool, "s");
    requests->location = test_text(pool, "~ \"\\\n\x01");
    requests->bucket = test_text(pool, "b");
    requests->row = test_bucket(table, location, "b");

    requests->row->counters[ngx_gcs_metrics_code(200)] = 2;
    requests->row->counters[ngx_gcs_metrics_code(201)] = 3;
    requests->row->counters[ngx_gcs_metrics_code(0)] = 5;
    requests->row->counters[NGX_GCS_METRICS_SENT] = 12345678901234;
    requests->row->counters[NGX_GCS_METRICS_RETRIES] = 7;

    ngx_gcs_metrics_time(requests->row, 7);
    ngx_gcs_metrics_time(requests->row, 7);
    ngx_gcs_metrics_time(requests->row, 61045);

    *(ngx_gcs_metrics_requests_t *) ngx_array_push(&page->takeovers)
        = *requests;

    requests = page->takeovers.elts;
    requests->row = location;

    ngx_str_set(&name, "key");

    credentials = ngx_array_push(&page->credentials);
    memset(credentials, 0, sizeof(*credentials));
    credentials->name = name;
    credentials->row = ngx_gcs_metrics_row(table, NGX_GCS_METRICS_CREDENTIALS,
                                           &name, NULL);
    credentials->row->counters[NGX_GCS_METRICS_BY_KEY] = 19;
    credentials->row->counters[NGX_GCS_METRICS_BY_IAM] = 23;
    credentials->row->counters[NGX_GCS_METRICS_UNSIGNED] = 29;
    credentials->row->counters[NGX_GCS_METRICS_HITS] = 31;
    credentials->row->counters[NGX_GCS_METRICS_MISSES] = 37;

    credentials = ngx_array_push(&page->credentials);
    memset(credentials, 0, sizeof(*credentials));
    credentials->name = test_text(pool, "token");
    credentials->state = &valid;
    credentials->fetches = 41;
    credentials->failures = 43;
    credentials->age = -1;
    credentials->expires = -1;
}


static void
test_formats(void)
{
    json_t                   *json, *one;
    ngx_str_t                 out;
    ngx_uint_t                i, openmetrics;
    ngx_pool_t               *pool;
    json_error_t              error;
    ngx_gcs_metrics_page_t    page;
    ngx_gcs_metrics_table_t  *table;

    static const char  *samples[] = {
        "gcs_build_info{version=\"1.2.3\"} 1\n",
        "{server=\"s\",location=\"~ \\\"\\\\\\n\x01\",bucket=\"b\","
        "code=\"2xx\"} 3\n",
        ",code=\"000\"} 5\n",
        "gcs_sent_bytes_total{server=\"s\",location=\"~ \\\"\\\\\\n\x01\","
        "bucket=\"b\"} 12345678901234\n",
        ",le=\"0.005\"} 0\n", ",le=\"0.01\"} 2\n", ",le=\"2.5\"} 2\n",
        ",le=\"+Inf\"} 3\n",
        "_sum{server=\"s\",location=\"~ \\\"\\\\\\n\x01\",bucket=\"b\"} "
        "61.059\n",
        "_count{server=\"s\",location=\"~ \\\"\\\\\\n\x01\",bucket=\"b\"} 3\n",
        ",verdict=\"cached\"} 17\n", ",verdict=\"denied\"} 0\n",
        "gcs_token_fetches_total{credentials=\"token\"} 41\n",
        "gcs_token_fetch_failures_total{credentials=\"token\"} 43\n",
        "gcs_token_expires_in_seconds{credentials=\"token\"} 0\n",
        "gcs_token_state{credentials=\"token\",state=\"valid\"} 1\n",
        "gcs_token_state{credentials=\"token\",state=\"failed\"} 0\n",
        "gcs_signatures_total{credentials=\"key\",by=\"key\"} 19\n",
        "gcs_signatures_total{credentials=\"key\",by=\"iam\"} 23\n",
        "gcs_signature_failures_total{credentials=\"key\"} 29\n",
        "gcs_presign_cache_requests_total{credentials=\"key\","
        "result=\"hit\"} 31\n",
        "result=\"miss\"} 37\n"
    };

    pool = test_pool();
    table = test_table(128);
    test_page(pool, table, &page);

    for (openmetrics = 0; openmetrics < 2; openmetrics++) {
        page.openmetrics = openmetrics;

        test_check(ngx_gcs_metrics_prometheus(pool, &page, &out) == NGX_OK,
                   NULL);

        for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
            test_check(test_contains(&out, samples[i]), samples[i]);
        }

        /* of what there is not nothing is said */

        test_check(!test_contains(&out, "gcs_token_age_seconds{"), NULL);
        test_check(!test_contains(&out, "gcs_token_state{credentials=\"key"),
                   NULL);
        test_check(!test_contains(&out, "{credentials=\"token\",by"), NULL);

        test_check(test_contains(&out, "# EOF\n") == openmetrics, NULL);
        test_check(test_contains(&out, ",le=\"60.0\"} 2\n") == openmetrics,
                   NULL);
        test_check(test_contains(&out, ",le=\"60\"} 2\n") == !openmetrics,
                   NULL);
        test_check(test_contains(&out, "# TYPE gcs_requests counter\n")
                   == openmetrics, NULL);
        test_check(test_contains(&out, "# TYPE gcs_requests_total counter\n")
                   == !openmetrics, NULL);
    }

    test_check(ngx_gcs_metrics_json(pool, &page, &out) == NGX_OK, NULL);

    json = json_loadb((char *) out.data, out.len, JSON_REJECT_DUPLICATES,
                      &error);
    test_check(json, error.text);

    one = json_array_get(json_object_get(json, "requests"), 0);

    test_check(strcmp(json_string_value(json_object_get(one, "location")),
                      "~ \"\\\n\x01") == 0, NULL);
    test_check(json_integer_value(json_object_get(one, "requests")) == 10,
               NULL);
    test_check(json_integer_value(json_object_get(
                   json_object_get(one, "statuses"), "2xx")) == 5, NULL);

    one = json_array_get(json_object_get(json, "credentials"), 1);

    test_check(json_object_get(one, "signatures") == NULL, NULL);
    test_check(json_object_get(json_object_get(one, "token"), "age") == NULL,
               NULL);

    json_decref(json);
    ngx_destroy_pool(pool);
    free(table);
}


static void
test_no_memory(void)
{
    ngx_int_t                 rc;
    ngx_str_t                 out, text;
    ngx_uint_t                fail, what;
    ngx_pool_t               *pool;
    ngx_gcs_metrics_page_t    page;
    ngx_gcs_metrics_table_t  *table;

    table = test_table(128);

    for (what = 0; what < 2; what++) {
        for (fail = 1; fail < 20; fail++) {
            pool = test_pool();
            test_page(pool, table, &page);

            shim_allocs = 0;
            shim_fail_at = fail;

            rc = what ? ngx_gcs_metrics_json(pool, &page, &out)
                      : ngx_gcs_metrics_prometheus(pool, &page, &out);

            shim_fail_at = 0;
            ngx_destroy_pool(pool);

            if (rc == NGX_OK) {
                break;
            }
        }

        /* it has failed, and in the end it has not */

        test_check(fail > 1 && fail < 20, what ? "json" : "prometheus");
    }

    pool = test_pool();
    ngx_str_set(&text, "a");

    shim_allocs = 0;
    shim_fail_at = 1;
    out = ngx_gcs_metrics_clean(pool, &text);
    shim_fail_at = 0;

    test_check(out.data == NULL, NULL);

    ngx_destroy_pool(pool);
    free(table);
}
