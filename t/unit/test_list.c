
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_list.h"


/*
 * What is read of a document, in one text: "+NAME" for an object with what is
 * known of it, "/NAME" for a folder, "=TOKEN" at the end, or "!".
 */

typedef struct {
    const char  *document;
    const char  *read;
} test_case_t;


static test_case_t  json[] = {

    { "{}", "=" },
    { " \r\n\t{ } \n", "=" },
    { "{\"kind\":\"storage#objects\"}", "=" },
    { "{\"items\":[{\"name\":\"a\"}]}", "+a|-1||||=" },
    { "{\"items\":[{\"name\":\"a/b\",\"size\":\"42\",\"updated\":"
      "\"2026-01-02T03:04:05.678Z\",\"contentType\":\"image/png\","
      "\"generation\":\"17\",\"md5Hash\":\"rL0Y20zC+Fzt72VPzMSk2A==\"}],"
      "\"prefixes\":[\"c/\",\"d/\"],\"nextPageToken\":\"t\"}",
      "+a/b|42|2026-01-02T03:04:05.678Z|image/png|17|rL0Y20zC+Fzt72VPzMSk2A=="
      "/c//d/=t" },

    /* unknown members are read over, whatever they hold */

    { "{\"x\":[{\"items\":[{\"name\":\"no\"}]}],\"items\":[{\"metadata\":"
      "{\"name\":\"no\",\"a\":[1,{}]},\"name\":\"a\"}],\"y\":null}",
      "+a|-1||||=" },
    { "{\"items\":{\"name\":\"no\"},\"prefixes\":\"no\"}", "=" },
    { "{\"items\":[[{\"name\":\"no\"}],\"no\",1,null]}", "=" },
    { "{\"prefixes\":[[\"no\"],{\"name\":\"no\"},7,\"a/\"]}", "/a/=" },
    { "{\"nextPageToken\":7,\"items\":[{\"nextPageToken\":\"no\"}]}", "=" },
    { "{\"nextPageToken\":[\"no\"]}", "=" },
    { "{\"NAME\":1,\"items\":[{\"Name\":\"no\"},{\"name\":\"\"}]}", "=" },
    { "{\"items\":[{\"name\":\"a\",\"size\":7}]}", "+a|7||||=" },
    { "{\"items\":[{\"name\":\"a\",\"size\":-7}]}", "+a|-1||||=" },
    { "{\"items\":[{\"name\":\"a\",\"size\":1.5}]}", "+a|-1||||=" },
    { "{\"items\":[{\"name\":\"a\",\"size\":\"1e3\",\"generation\":\"x\","
      "\"updated\":\"yesterday\",\"md5Hash\":\"<\"}]}", "+a|-1||||=" },
    { "{\"items\":[{\"name\":\"a\",\"size\":\"1\"},{\"name\":\"b\"}]}",
      "+a|1||||+b|-1||||=" },

    /* strings */

    { "{\"prefixes\":[\"\\u00e9\\u20ac\\ud83d\\ude00\\n\\/\"]}",
      "/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n/=" },
    { "{\"prefixes\":[\"\\ud83dx\"]}", "/\xef\xbf\xbdx=" },
    { "{\"prefixes\":[\"\\ud83d\"]}", "/\xef\xbf\xbd=" },
    { "{\"prefixes\":[\"\\ude00\"]}", "/\xef\xbf\xbd=" },
    { "{\"prefixes\":[\"\\ud83d\\ud83d\\ude00\"]}",
      "/\xef\xbf\xbd\xf0\x9f\x98\x80=" },
    { "{\"prefixes\":[\"\xff\xfe\"]}", "/\xff\xfe=" },
    { "{\"pr\\u0065fixes\":[\"a\"]}", "/a=" },
    { "{\"prefix\\u0165s\":[\"a\"]}", "=" },
    { "{\"\\ud83dprefixes\":[\"a\"]}", "=" },

    /* what is no JSON, or no listing */

    { "", "!" },
    { "[]", "!" },
    { "\"a\"", "!" },
    { "<html>", "!" },
    { "{", "!" },
    { "{}{}", "!" },
    { "{},", "!" },
    { "{\"a\":1,}", "!" },
    { "{\"a\"}", "!" },
    { "{\"a\":}", "!" },
    { "{a:1}", "!" },
    { "{1:1}", "!" },
    { "{\"a\":01}", "!" },
    { "{\"a\":1.}", "!" },
    { "{\"a\":.5}", "!" },
    { "{\"a\":1e}", "!" },
    { "{\"a\":-}", "!" },
    { "{\"a\":+1}", "!" },
    { "{\"a\":nul}", "!" },
    { "{\"a\":True}", "!" },
    { "{\"a\":[1,]}", "!" },
    { "{\"a\":[1 2]}", "!" },
    { "{\"a\":[1}", "!" },
    { "{\"a\":{]}", "!" },
    { "{\"a\":\"\n\"}", "!" },
    { "{\"a\":\"\\x\"}", "!" },
    { "{\"a\":\"\\u12g4\"}", "!" },
    { NULL, NULL }
};


static test_case_t  xml[] = {

    { "<ListBucketResult/>", "=" },
    { "<ListBucketResult></ListBucketResult>\n", "=" },
    { "<?xml version='1.0' encoding='UTF-8'?>\n<ListBucketResult xmlns="
      "'http://doc.s3.amazonaws.com/2006-03-01'><Name>b</Name><Prefix>p"
      "</Prefix><IsTruncated>true</IsTruncated><NextContinuationToken>"
      "CgRhL2I=</NextContinuationToken><Contents><Key>a/b</Key><Generation>"
      "17</Generation><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
      "<ETag>\"acbd18db4cc2f85cedef654fccc4a4d8\"</ETag><Size>42</Size>"
      "</Contents><CommonPrefixes><Prefix>a/c/</Prefix></CommonPrefixes>"
      "</ListBucketResult>",
      "+a/b|42|2026-01-02T03:04:05.678Z||17|rL0Y20zC+Fzt72VPzMSk2A=="
      "/a/c/=CgRhL2I=" },
    { "<ListBucketResult><Contents><Key>&lt;&amp;&gt;&quot;&apos;&#65;&#x42;"
      "&#x1F600;</Key><ETag>&quot;x-1&quot;</ETag></Contents>"
      "</ListBucketResult>", "+<&>\"'AB\xf0\x9f\x98\x80|-1||||=" },
    { "<a:ListBucketResult xmlns:a='x'><a:Contents><a:Key>k</a:Key>"
      "</a:Contents></a:ListBucketResult>", "+k|-1||||=" },
    { "<ListBucketResult><Contents><Owner><ID>1</ID><Key>no</Key></Owner>"
      "<Key>a<!-- - -->b<i>c</i>d</Key><Size/></Contents>"
      "</ListBucketResult>", "+abd|-1||||=" },
    { "<ListBucketResult><CommonPrefixes><Prefix>a</Prefix><Prefix>b"
      "</Prefix></CommonPrefixes><Contents></Contents></ListBucketResult>",
      "/a/b=" },
    { "<ListBucketResult><NextContinuationToken>a<b/>c<b>d</b>"
      "</NextContinuationToken><CommonPrefixes><Prefix>a<b/>c/</Prefix>"
      "</CommonPrefixes></ListBucketResult>", "/ac/=ac" },
    { "<ListBucketResult><Contents><Key>&#xd800;</Key><ETag>"
      "\"acbd18db4cc2f85cedef654fccc4a4dg\"</ETag></Contents>"
      "</ListBucketResult>", "+\xef\xbf\xbd|-1||||=" },
    { "<ListBucketResult a=\"<\"/>", "!" },
    { "<ListBucketResult a='>'></ListBucketResult >", "=" },
    { "<ListBucketResult><Contents><Key>\x01&#1;\xff</Key></Contents>"
      "</ListBucketResult>", "+\x01\x01\xff|-1||||=" },

    { "", "!" },
    { "{}", "!" },
    { "<Error><Code>AccessDenied</Code></Error>", "!" },
    { "<html></html>", "!" },
    { "<ListBucketResult>", "!" },
    { "<ListBucketResult/><ListBucketResult/>", "!" },
    { "<ListBucketResult/>x", "!" },
    { "<ListBucketResult/><", "!" },
    { "<ListBucketResult/><!--", "!" },
    { "x<ListBucketResult/>", "!" },
    { "</ListBucketResult>", "!" },
    { "<ListBucketResult></listBucketResult>", "!" },
    { "<ListBucketResult><a></b></ListBucketResult>", "!" },
    { "<ListBucketResult>&nbsp;</ListBucketResult>", "!" },
    { "<ListBucketResult>&#;</ListBucketResult>", "!" },
    { "<ListBucketResult>&#a;</ListBucketResult>", "!" },
    { "<ListBucketResult>&#xg;</ListBucketResult>", "!" },
    { "<ListBucketResult>&#x110000;</ListBucketResult>", "!" },
    { "<ListBucketResult>&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;"
      "</ListBucketResult>", "!" },
    { "<!DOCTYPE a [<!ENTITY b 'c'>]><ListBucketResult/>", "!" },
    { "<ListBucketResult><![CDATA[x]]></ListBucketResult>", "!" },
    { "<ListBucketResult/ >", "!" },
    { "< ListBucketResult/>", "!" },
    { NULL, NULL }
};


static void test_table(test_case_t *t, ngx_uint_t is_xml);
static void test_read(ngx_pool_t *pool, const char *document, size_t size,
    size_t first, size_t piece, ngx_uint_t is_xml, char *buf);
static char *test_field_text(char *p, ngx_str_t *value);
static void test_limits(void);
static void test_limit(const char *start, const char *fill, ngx_uint_t n,
    const char *end, ngx_uint_t is_xml, ngx_uint_t taken);
static void test_matches(void);


int
main(void)
{
    test_table(json, 0);
    test_table(xml, 1);
    test_limits();
    test_matches();

    return test_failures;
}


/* whole, byte by byte, and cut once at each place */

static void
test_table(test_case_t *t, ngx_uint_t is_xml)
{
    char        *buf;
    size_t       i, len;
    ngx_pool_t  *pool;

    buf = malloc(65536);

    for ( /* void */ ; t->document; t++) {

        pool = test_pool();
        len = strlen(t->document);

        for (i = 0; i <= len; i++) {
            test_read(pool, t->document, len, i, len ? len : 1, is_xml, buf);

            test_check(strcmp(buf, t->read) == 0
                       || (t->read[0] == '!' && strchr(buf, '!')),
                       t->document);
        }

        test_read(pool, t->document, len, 0, 1, is_xml, buf);
        test_check(strcmp(buf, t->read) == 0
                   || (t->read[0] == '!' && strchr(buf, '!')), t->document);

        ngx_destroy_pool(pool);
    }

    free(buf);
}


static void
test_read(ngx_pool_t *pool, const char *document, size_t size, size_t first,
    size_t piece, ngx_uint_t is_xml, char *buf)
{
    char                   *p;
    u_char                 *pos, *last;
    size_t                  at, n;
    ngx_int_t               rc;
    ngx_str_t               copy, token;
    ngx_gcs_list_entry_t    entry;
    ngx_gcs_list_parser_t  *parser;

    parser = ngx_palloc(pool, sizeof(ngx_gcs_list_parser_t));
    ngx_gcs_list_init(parser, is_xml);

    p = buf;
    rc = NGX_AGAIN;

    for (at = 0; at < size && rc == NGX_AGAIN; at += n) {

        n = (at == 0 && first) ? first : piece;
        n = ngx_min(n, size - at);

        copy = test_bytes(pool, document + at, n);
        pos = copy.data;
        last = pos + n;

        while ((rc = ngx_gcs_list_parse(parser, &pos, last, &entry))
               == NGX_OK)
        {
            *p++ = entry.folder ? '/' : '+';
            p = test_field_text(p, &entry.name);

            if (entry.folder) {
                continue;
            }

            p += sprintf(p, "|%ld|", (long) entry.size);
            p = test_field_text(p, &entry.updated);
            *p++ = '|';
            p = test_field_text(p, &entry.content_type);
            *p++ = '|';
            p = test_field_text(p, &entry.generation);
            *p++ = '|';
            p = test_field_text(p, &entry.md5);
        }

        test_check(rc == NGX_ERROR || pos == last, document);
    }

    test_check((rc == NGX_ERROR) == (parser->reason != NULL), document);

    if (ngx_gcs_list_done(parser)) {
        token = ngx_gcs_list_token(parser);
        *p++ = '=';
        p = test_field_text(p, &token);

    } else {
        *p++ = '!';
    }

    *p = '\0';

    /* an error stays one */

    if (rc == NGX_ERROR) {
        pos = (u_char *) "{}";
        test_check(ngx_gcs_list_parse(parser, &pos, pos + 2, &entry)
                   == NGX_ERROR, document);
    }
}


static char *
test_field_text(char *p, ngx_str_t *value)
{
    memcpy(p, value->data, value->len);

    return p + value->len;
}


static void
test_limits(void)
{
    test_limit("{\"prefixes\":[\"", "a", NGX_GCS_LIST_NAME_MAX, "\"]}", 0, 1);
    test_limit("{\"prefixes\":[\"", "a", NGX_GCS_LIST_NAME_MAX + 1, "\"]}",
               0, 0);
    test_limit("{\"prefixes\":[\"", "\\u00e9", NGX_GCS_LIST_NAME_MAX / 2,
               "\"]}", 0, 1);
    test_limit("{\"prefixes\":[\"", "\\u00e9", NGX_GCS_LIST_NAME_MAX / 2 + 1,
               "\"]}", 0, 0);
    test_limit("{\"prefixes\":[\"", "a", NGX_GCS_LIST_NAME_MAX, "\\ud83d\"]}",
               0, 0);
    test_limit("{\"prefixes\":[\"", "a", NGX_GCS_LIST_NAME_MAX, "\\ud83dx\"]}",
               0, 0);
    test_limit("{\"prefixes\":[\"", "a", NGX_GCS_LIST_NAME_MAX,
               "\\ud83d\\u0041\"]}", 0, 0);
    test_limit("{\"nextPageToken\":\"", "a", NGX_GCS_LIST_TOKEN_MAX, "\"}",
               0, 1);
    test_limit("{\"nextPageToken\":\"", "a", NGX_GCS_LIST_TOKEN_MAX + 1,
               "\"}", 0, 0);

    /* what is not of interest may be as long as it likes */

    test_limit("{\"x\":\"", "a", 1000000, "\"}", 0, 1);
    test_limit("{\"", "a", 1000000, "\":1}", 0, 1);
    test_limit("{\"items\":[{\"contentType\":\"", "a", 257,
               "\",\"name\":\"a\"}]}", 0, 1);
    test_limit("{\"x\":", "1", 64, "}", 0, 1);
    test_limit("{\"x\":", "1", 65, "}", 0, 0);
    test_limit("{\"x\":", "[", 1000, "", 0, 0);

    test_limit("<ListBucketResult><Contents><Key>", "a",
               NGX_GCS_LIST_NAME_MAX, "</Key></Contents></ListBucketResult>",
               1, 1);
    test_limit("<ListBucketResult><Contents><Key>", "a",
               NGX_GCS_LIST_NAME_MAX + 1,
               "</Key></Contents></ListBucketResult>", 1, 0);
    test_limit("<ListBucketResult><", "a", 100000, "/></ListBucketResult>",
               1, 1);
    test_limit("<ListBucketResult>", "<a>", NGX_GCS_LIST_DEPTH, "", 1, 0);
}


static void
test_limit(const char *start, const char *fill, ngx_uint_t n,
    const char *end, ngx_uint_t is_xml, ngx_uint_t taken)
{
    char        *document, *p, *buf;
    ngx_pool_t  *pool;

    pool = test_pool();

    document = malloc(strlen(start) + strlen(fill) * n + strlen(end) + 1);
    buf = malloc(65536);

    p = document + sprintf(document, "%s", start);

    while (n--) {
        p += sprintf(p, "%s", fill);
    }

    p += sprintf(p, "%s", end);

    test_read(pool, document, p - document, 0, 1000, is_xml, buf);
    test_check((strchr(buf, '!') == NULL) == (taken == 1), start);

    free(document);
    free(buf);
    ngx_destroy_pool(pool);
}


static void
test_matches(void)
{
    ngx_str_t  name = ngx_string("dir/Photo.JPG");
    ngx_str_t  photo = ngx_string("phOTO");
    ngx_str_t  dir = ngx_string("dir");
    ngx_str_t  end = ngx_string(".jpg");
    ngx_str_t  longer = ngx_string("Photo.JPG.gz");
    ngx_str_t  empty = ngx_string("");

    test_check(ngx_gcs_list_matches(&name, 4, &photo), NULL);
    test_check(ngx_gcs_list_matches(&name, 4, &end), NULL);
    test_check(ngx_gcs_list_matches(&name, 4, &empty), NULL);
    test_check(ngx_gcs_list_matches(&name, 0, &dir), NULL);
    test_check(!ngx_gcs_list_matches(&name, 4, &dir), NULL);
    test_check(!ngx_gcs_list_matches(&name, 4, &longer), NULL);
    test_check(!ngx_gcs_list_matches(&name, 5, &photo), NULL);
    test_check(!ngx_gcs_list_matches(&empty, 7, &dir), NULL);
}
