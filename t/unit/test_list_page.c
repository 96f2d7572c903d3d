
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_list_parts.h"


typedef struct {
    off_t        size;
    const char  *text;
} test_size_t;


static test_size_t  sizes[] = {
    { 0, "0 B" },
    { 1, "1 B" },
    { 1023, "1023 B" },
    { 1024, "1.0 KiB" },
    { 1536, "1.5 KiB" },
    { 102399, "99.9 KiB" },
    { 102400, "100 KiB" },
    { 1048575, "1023 KiB" },
    { 1048576, "1.0 MiB" },
    { 1073741824, "1.0 GiB" },
    { 5497558138880, "5.0 TiB" },
    { 999999999999999999, "888 PiB" },
    { 0, NULL }
};


static void test_sizes(void);
static void test_json(void);
static void test_html(void);
static void test_room(void);
static void test_crumbs(void);
static ngx_str_t test_page(ngx_pool_t *pool, ngx_gcs_list_page_t *page,
    ngx_gcs_list_entry_t *entry, const char *token);
static void test_set(ngx_str_t *str, const char *text);


int
main(void)
{
    test_sizes();
    test_json();
    test_html();
    test_room();
    test_crumbs();

    return test_failures;
}


static void
test_sizes(void)
{
    ngx_str_t            text;
    test_size_t         *t;
    ngx_gcs_list_out_t   out;
    u_char               buf[64];

    for (t = sizes; t->text; t++) {
        out.pos = buf;
        out.end = buf + sizeof(buf);
        out.full = 0;

        ngx_gcs_list_out_size(&out, t->size);

        text.data = buf;
        text.len = out.pos - buf;

        test_check(test_equal(&text, t->text), t->text);
    }
}


static void
test_json(void)
{
    ngx_str_t              text;
    ngx_pool_t            *pool;
    ngx_gcs_list_page_t    page;
    ngx_gcs_list_entry_t   entry;

    pool = test_pool();

    ngx_memzero(&page, sizeof(page));
    ngx_memzero(&entry, sizeof(entry));

    test_set(&page.bucket, "b");
    test_set(&page.prefix, "p/");
    test_set(&page.base, "/f\xc3\xa9/");

    entry.size = 7;
    test_set(&entry.name, "p/a b\"\\\x01\x7f\xff.jpg");

    text = test_page(pool, &page, &entry, "");
    test_check(test_equal(&text, "[\n{\"type\":\"object\",\"name\":\"p/a b"
                          "\\\"\\\\\\u0001\\u007f\\ufffd.jpg\",\"size\":7,"
                          "\"uri\":\"gs://b/p/a b\\\"\\\\\\u0001\\u007f"
                          "\\ufffd.jpg\"}\n]\n"), "not UTF-8");

    /* escaped for a path; with "." or "..", or of another folder: none */

    test_set(&entry.name, "p/a?b/c\xc3\xa9#");
    text = test_page(pool, &page, &entry, "");
    test_check(test_contains(&text, "\"url\":\"/f%C3%A9/a%3Fb/c%C3%A9%23\""),
               "url");

    test_set(&entry.name, "p/../x");
    text = test_page(pool, &page, &entry, "");
    test_check(!test_contains(&text, "\"url\""), "dots");

    test_set(&entry.name, "q/x");
    text = test_page(pool, &page, &entry, "");
    test_check(!test_contains(&text, "\"url\""), "another folder");

    /* a folder, a token, lines */

    page.format = NGX_GCS_LIST_JSONL;
    entry.folder = 1;
    entry.size = -1;
    test_set(&entry.name, "p/x/");
    ngx_str_null(&page.base);

    text = test_page(pool, &page, &entry, "t\"");
    test_check(test_equal(&text, "{\"type\":\"folder\",\"name\":\"p/x/\","
                          "\"uri\":\"gs://b/p/x/\"}\n"
                          "{\"type\":\"next\",\"token\":\"t\\\"\"}\n"),
               "lines");

    ngx_destroy_pool(pool);
}


static void
test_html(void)
{
    ngx_str_t              text;
    ngx_pool_t            *pool;
    ngx_gcs_list_page_t    page;
    ngx_gcs_list_entry_t   entry;

    pool = test_pool();

    ngx_memzero(&page, sizeof(page));
    ngx_memzero(&entry, sizeof(entry));

    page.format = NGX_GCS_LIST_HTML;
    test_set(&page.bucket, "b");
    test_set(&page.prefix, "p/");
    test_set(&page.base, "/f/p/");
    test_set(&page.root, "f");
    test_set(&page.path, "p/");
    test_set(&page.filter, "\"><script>");

    entry.size = 1536;
    test_set(&entry.name, "p/<i>&'\"\n\xff");
    test_set(&entry.updated, "2026-01-02T03:04:05Z");
    test_set(&entry.content_type, "</td>");

    text = test_page(pool, &page, &entry, "t&\"");

    test_check(test_contains(&text, "<tr><td>&lt;i&gt;&amp;&#39;&quot;"
                             "\xef\xbf\xbd\xef\xbf\xbd</td>"), "name");
    test_check(test_contains(&text, "<data value=\"1536\">1.5 KiB</data>"),
               "size");
    test_check(test_contains(&text, "<time datetime=\"2026-01-02T03:04:05Z\">"
                             "2026-01-02 03:04</time>"), "time");
    test_check(test_contains(&text, "<td>&lt;/td&gt;</td>"), "type");
    test_check(test_contains(&text, "value=\"&quot;&gt;&lt;script&gt;\""),
               "filter");
    test_check(test_contains(&text, "href=\"?token=t%26%22&amp;q=%22%3E%3C"
                             "script%3E\""), "next");
    test_check(test_contains(&text, "<li><a href=\"../\">f</a></li>\n"
                             "<li aria-current=\"page\">p</li>"), "crumbs");
    test_check(test_contains(&text, "<p>1 entry, and there is more.</p>"),
               "count");
    test_check(!test_contains(&text, "<script"), "script");

    test_set(&entry.name, "p/a b.jpg");
    text = test_page(pool, &page, &entry, "");
    test_check(test_contains(&text, "<a href=\"/f/p/a%20b.jpg\">a b.jpg</a>"),
               "link");
    test_check(test_contains(&text, "<p>1 entry.</p>"), "count");

    ngx_destroy_pool(pool);
}


/* the largest of everything finds its place, and what does not, does not */

static void
test_room(void)
{
    u_char                *p, *last;
    ngx_str_t              token;
    ngx_uint_t             i;
    ngx_pool_t            *pool;
    ngx_gcs_list_page_t    page;
    ngx_gcs_list_entry_t   entry;

    pool = test_pool();

    ngx_memzero(&page, sizeof(page));
    ngx_memzero(&entry, sizeof(entry));

    entry.name.len = NGX_GCS_LIST_NAME_MAX;
    entry.name.data = memset(ngx_palloc(pool, 4096), '"', 4096);
    entry.content_type.data = entry.name.data;
    entry.content_type.len = 256;

    token.data = memset(ngx_palloc(pool, NGX_GCS_LIST_TOKEN_MAX), '"',
                        NGX_GCS_LIST_TOKEN_MAX);
    token.len = NGX_GCS_LIST_TOKEN_MAX;

    test_set(&page.bucket, "b");
    page.limit = 1000;
    page.path = entry.name;
    page.narrow = entry.name;
    page.root = entry.name;
    page.root.len = 256;
    page.filter = entry.name;
    page.filter.len = NGX_GCS_LIST_QUERY_MAX;
    page.base.data = entry.name.data;
    page.base.len = NGX_GCS_LIST_BASE_MAX;

    for (i = NGX_GCS_LIST_JSON; i <= NGX_GCS_LIST_HTML; i++) {

        page.format = i;

        /* one byte after another is there, or nothing is written */

        p = ngx_palloc(pool, NGX_GCS_LIST_ROOM);

        last = ngx_gcs_list_head(&page, p, p + NGX_GCS_LIST_ROOM);
        test_check(last, "head");
        test_check(last == p
                   || ngx_gcs_list_head(&page, p, last - 1) == NULL, "head");

        page.count = 1;

        last = ngx_gcs_list_item(&page, &entry, p, p + NGX_GCS_LIST_ROOM);
        test_check(last, "item");
        test_check(ngx_gcs_list_item(&page, &entry, p, last) == last, "item");
        test_check(ngx_gcs_list_item(&page, &entry, p, last - 1) == NULL,
                   "item");
        test_check(page.count == 3, "count");

        last = ngx_gcs_list_tail(&page, &token, p, p + NGX_GCS_LIST_ROOM);
        test_check(last, "tail");
        test_check(ngx_gcs_list_tail(&page, &token, p, last - 1) == NULL,
                   "tail");
    }

    ngx_destroy_pool(pool);
}


static void
test_crumbs(void)
{
    ngx_str_t              text;
    ngx_pool_t            *pool;
    ngx_gcs_list_page_t    page;
    ngx_gcs_list_entry_t   entry;

    pool = test_pool();

    ngx_memzero(&page, sizeof(page));
    ngx_memzero(&entry, sizeof(entry));

    page.format = NGX_GCS_LIST_HTML;
    entry.size = -1;
    test_set(&entry.name, "a");
    test_set(&page.root, "files");

    text = test_page(pool, &page, &entry, "");
    test_check(test_contains(&text, "<h1>files</h1>"), "root");
    test_check(test_contains(&text, "<td class=\"n\"></td><td></td><td></td>"),
               "nothing known");

    test_set(&page.path, "a/<b>//c/");
    text = test_page(pool, &page, &entry, "");
    test_check(test_contains(&text,
                   "<li><a href=\"../../../../\">files</a></li>\n"
                   "<li><a href=\"../../../\">a</a></li>\n"
                   "<li><a href=\"../../\">&lt;b&gt;</a></li>\n"
                   "<li><a href=\"../\">(no name)</a></li>\n"
                   "<li aria-current=\"page\">c</li>\n"), "all");

    page.path.data = memset(ngx_palloc(pool, 1024), '/', 1024);
    page.path.len = 1024;
    text = test_page(pool, &page, &entry, "");
    test_check(test_contains(&text, "/\">...</a></li>"), "cut");

    ngx_destroy_pool(pool);
}


static ngx_str_t
test_page(ngx_pool_t *pool, ngx_gcs_list_page_t *page,
    ngx_gcs_list_entry_t *entry, const char *token)
{
    u_char     *p, *last;
    ngx_str_t   text, next;

    page->count = 0;
    test_set(&next, token);

    text.data = ngx_palloc(pool, 3 * NGX_GCS_LIST_ROOM);
    last = text.data + 3 * NGX_GCS_LIST_ROOM;

    p = ngx_gcs_list_head(page, text.data, last);
    p = ngx_gcs_list_item(page, entry, p, last);
    p = ngx_gcs_list_tail(page, &next, p, last);

    text.len = p - text.data;

    return text;
}


static void
test_set(ngx_str_t *str, const char *text)
{
    str->data = (u_char *) text;
    str->len = strlen(text);
}
