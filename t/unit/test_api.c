
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_api.h"


#define B  "/storage/v1/b/bucket/o"
#define L  "/storage/v1/b/limited/o"
#define U  "/upload/storage/v1/b/bucket/o"


typedef struct {
    ngx_gcs_api_method_e  method;
    const char           *path;
    const char           *args;
    const char           *target;      /* NULL: refused */
    ngx_uint_t            needs;       /* or the status of the refusal */
} test_request_t;


typedef struct {
    const char  *type;
    const char  *body;
    const char  *made;                 /* NULL: refused */
} test_multipart_t;


typedef struct {
    const char  *answer;
    const char  *passed;               /* NULL: as it was */
} test_link_t;


static void test_init(ngx_pool_t *pool, ngx_gcs_api_t *api,
    const char *path, const char *args);
static void test_requests(void);
static void test_headers(void);
static void test_bodies(void);
static void test_metadata(void);
static void test_memory(void);
static void test_links(void);
static ngx_str_t test_passed(ngx_pool_t *pool, const char *answer,
    size_t step);
static void test_locations(void);
static void test_masks(void);
static void test_errors(void);


#define GET     NGX_GCS_API_M_GET
#define HEAD    NGX_GCS_API_M_HEAD
#define POST    NGX_GCS_API_M_POST
#define PUT     NGX_GCS_API_M_PUT
#define PATCH   NGX_GCS_API_M_PATCH
#define DELETE  NGX_GCS_API_M_DELETE

#define R       NGX_GCS_API_READS
#define W       NGX_GCS_API_WRITES
#define D       NGX_GCS_API_DELETES


static test_request_t  requests[] = {

    { GET, "/storage/v1/b/bucket", "", "/storage/v1/b/bucket", R },
    { GET, "/b/bucket", "", "/storage/v1/b/bucket", R },
    { GET, "/storage/v1/b/limited", "", "/storage/v1/b/limited", R },
    { GET, "/storage/v1/b/bucket/storageLayout", "prefix=a%2F",
      "/storage/v1/b/bucket/storageLayout?prefix=a%2F", R },
    { GET, "/storage/v1/b/bucket/iam/testPermissions",
      "permissions=a&permissions=b",
      "/storage/v1/b/bucket/iam/testPermissions?permissions=a&permissions=b",
      R },
    { GET, B, "", B, R },
    { GET, B, "&&prefix=a+b&", B "?prefix=a%20b", R },
    { GET, B "/a", "", B "/a", R },
    { GET, B "/a%2fb%2F%2Fc", "", B "/a%2Fb%2F%2Fc", R },
    { GET, B "/%61%20%2B+", "alt=media", B "/a%20%2B%2B?alt=media", R },
    { HEAD, B "/a", "", B "/a", R },
    { GET, "/download" B "/a", "alt=media&generation=1",
      "/download" B "/a?generation=1&alt=media", R },
    { GET, "/download/b/bucket/o/a", "", "/download" B "/a?alt=media", R },
    { GET, "/download" B "/a", "alt=json", "/download" B "/a?alt=media", R },
    { DELETE, B "/a", "generation=1", B "/a?generation=1", D },
    { DELETE, B "/a", "prefix=a&force=true&key=x", B "/a", D },
    { GET, B "/a", "userProject=ours&alt=json", B "/a?alt=json", R },
    { GET, B "/a", "key=x", B "/a", R },
    { POST, U, "uploadType=media&name=a+b", U "?uploadType=media&name=a%20b",
      W },
    { POST, "/upload/b/bucket/o", "name=a&uploadType=media",
      U "?uploadType=media&name=a", W },
    { PUT, U, "uploadType=resumable&upload_id=x-_&name=a",
      U "?uploadType=resumable&upload_id=x-_", W },
    { POST, U, "upload_id=x&ifGenerationMatch=0&projection=full",
      U "?upload_id=x&ifGenerationMatch=0&projection=full", W },
    { DELETE, "/resumable" U, "upload_id=x", U "?upload_id=x", W },
    { GET, L "/in%2Fa", "", L "/in%2Fa", R },
    { GET, L, "prefix=in/", L "?prefix=in%2F", R },
    { GET, L, "prefix=in/a&startOffset=b", L "?prefix=in%2Fa&startOffset=b",
      R },
    { PUT, "/upload" L, "upload_id=x&name=in/a", "/upload" L "?upload_id=x",
      W },

    { GET, "/bucket", "", "/bucket", R },
    { GET, "/bucket/", "prefix=a&list-type=2", "/bucket?prefix=a&list-type=2",
      R },
    { HEAD, "/bucket", "", "/bucket", R },
    { GET, "/bucket/a%2Fb//c", "", "/bucket/a/b//c", R },
    { GET, "/bucket/b/o", "generation=1", "/bucket/b/o?generation=1", R },
    { PUT, "/bucket/a", "", "/bucket/a", W },
    { DELETE, "/bucket/a", "", "/bucket/a", D },
    { POST, "/bucket/a", "uploads", "/bucket/a?uploads", W },
    { PUT, "/bucket/a", "partNumber=1&uploadId=x",
      "/bucket/a?partNumber=1&uploadId=x", W },
    { GET, "/bucket/a", "uploadId=x", "/bucket/a?uploadId=x", W },
    { POST, "/bucket/a", "uploadId=x", "/bucket/a?uploadId=x", W },
    { DELETE, "/bucket/a", "uploadId=x", "/bucket/a?uploadId=x", W },
    { PUT, "/bucket/a", "upload_id=x", "/bucket/a?upload_id=x", W },
    { GET, "/limited", "prefix=in/", "/limited?prefix=in%2F", R },
    { GET, "/limited/in/a", "", "/limited/in/a", R },

    { GET, "", "", NULL, 403 },
    { GET, "/", "", NULL, 403 },
    { GET, "bucket", "", NULL, 403 },
    { GET, "//bucket/a", "", NULL, 403 },
    { GET, "/b", "", NULL, 403 },
    { GET, "/b/", "", NULL, 403 },
    { GET, "/storage/v1", "", NULL, 403 },
    { GET, "/storage/v1/b", "", NULL, 403 },
    { GET, "/storage/v1/b/", "", NULL, 403 },
    { GET, "/storage/v1/bucket", "", NULL, 403 },
    { GET, "/storage/v1/%62/bucket", "", NULL, 403 },
    { GET, "/%73torage/v1/b/bucket", "", NULL, 403 },
    { GET, "/storage/v2/b/bucket", "", NULL, 403 },
    { GET, "/upload" B "/a", "", NULL, 403 },
    { POST, "/upload" B "/a/compose", "", NULL, 403 },
    { POST, "/download" B "/a/compose", "", NULL, 403 },
    { DELETE, "/download" B "/a", "", NULL, 403 },
    { POST, B "/a/moveTo/o/", "", NULL, 403 },
    { POST, B "/a/moveTo/b/c", "", NULL, 403 },
    { POST, B "/a/copyTo/o/c", "", NULL, 403 },
    { GET, "/bucket%", "", NULL, 400 },
    { GET, "/bucket/%ff", "", NULL, 400 },
    { GET, "/bucket/a%", "", NULL, 400 },
    { PATCH, "/download" B "/a", "", NULL, 403 },
    { POST, U, "", NULL, 403 },
    { PUT, U, "uploadType=media&name=a", NULL, 403 },
    { POST, U, "uploadType=media", NULL, 400 },
    { POST, U, "uploadType=media&name=", NULL, 400 },
    { PUT, U, "uploadType=media&upload_id=x", NULL, 403 },
    { POST, U, "uploadType=media&name=a/../b", NULL, 400 },
    { PUT, U, "upload_id=", NULL, 400 },
    { PUT, U, "upload_id=%0a", NULL, 400 },
    { PUT, U, "upload_id=x&predefinedAcl=publicRead", NULL, 403 },
    { GET, U, "upload_id=x", NULL, 403 },
    { PUT, "/upload" L, "upload_id=x", NULL, 403 },
    { PUT, "/upload" L, "upload_id=x&name=out/a", NULL, 403 },
    { GET, "/storage/v1/b/other", "", NULL, 403 },
    { GET, "/storage/v1/b/bucket2", "", NULL, 403 },
    { GET, "/storage/v1/b/bucke", "", NULL, 403 },
    { GET, "/storage/v1/b/Bucket", "", NULL, 403 },
    { GET, "/storage/v1/b/bucket%2Fo%2Fa", "", NULL, 403 },
    { GET, "/storage/v1/b/bucket%00", "", NULL, 403 },
    { GET, B "/", "", NULL, 403 },
    { GET, B "//", "", NULL, 403 },
    { GET, B "/a/b", "", NULL, 403 },
    { POST, B "/a/copyTo/b/bucket/o/", "", NULL, 403 },
    { POST, B "/a/copyTo/b/bucket/o/a/b/c", "", NULL, 403 },
    { POST, B "/a/copyTo/x/bucket/o/a", "", NULL, 403 },
    { GET, B "/a/copyTo/b/bucket/o/b", "", NULL, 403 },
    { GET, B "/%ff", "", NULL, 400 },
    { GET, B "/a%00", "", NULL, 400 },
    { GET, B "/a%0d", "", NULL, 400 },
    { GET, B "/%2E", "", NULL, 400 },
    { GET, B "/%2E%2e", "", NULL, 400 },
    { GET, B "/%", "", NULL, 400 },
    { GET, B "/%4", "", NULL, 400 },
    { GET, B "/%4g", "", NULL, 400 },
    { GET, B, "prefix=%", NULL, 400 },
    { GET, B, "prefix=%ff", NULL, 400 },
    { GET, B, "prefix=a&prefix=b", NULL, 400 },
    { GET, B, "pre%66ix=a", NULL, 400 },
    { GET, B, "=a", NULL, 403 },
    { GET, B, "Prefix=a", NULL, 403 },
    { GET, B "/a", "userProject=theirs", NULL, 403 },
    { GET, B "/a", "userProject=", NULL, 403 },
    { GET, B "/a", "x-goog-signature=x", NULL, 403 },
    { GET, L, "", NULL, 403 },
    { GET, L, "prefix=in", NULL, 403 },
    { GET, L, "prefix=", NULL, 403 },
    { GET, L, "prefix=out/", NULL, 403 },
    { GET, L, "prefix=in/../", NULL, 403 },
    { GET, L "/in", "", NULL, 403 },
    { GET, L "/in%2F..%2Fout", "", NULL, 403 },
    { GET, "/limited", "", NULL, 403 },
    { GET, "/limited/out/a", "", NULL, 403 },
    { GET, "/other/a", "", NULL, 403 },
    { GET, "/batch/a", "", NULL, 403 },
    { POST, "/batch/storage/v1", "", NULL, 403 },
    { POST, "/bucket/a", "", NULL, 403 },
    { POST, "/bucket", "uploads", NULL, 403 },
    { POST, "/bucket/a", "uploads=1", NULL, 400 },
    { POST, "/bucket/a", "upload_id=x", NULL, 403 },
    { GET, "/bucket", "uploads", NULL, 403 },
    { GET, "/bucket/a", "acl", NULL, 403 },
    { PUT, "/bucket", "", NULL, 403 },
    { DELETE, "/bucket", "", NULL, 403 },
    { GET, "/bucket/a", "upload_id=x", NULL, 403 },
    { NGX_GCS_API_M_OTHER, "/bucket/a", "", NULL, 403 },
    { NGX_GCS_API_M_OTHER, B "/a", "", NULL, 403 },

    { 0, NULL, NULL, NULL, 0 }
};


/* the beginning of a body that has "hello" as its second part's */

static test_multipart_t  multiparts[] = {

    { "multipart/related; boundary=b",
      "--b\r\nContent-Type: application/json\r\n\r\n{\"name\":\"a\"}\r\n"
      "--b\r\n\r\nhello\r\n--b--",
      "--b\r\nContent-Type: application/json\r\n\r\n{\"name\":\"a\"}\r\n"
      "--b\r\n" },

    { "Multipart/Related; boundary=\"b\"; x=y",
      "--b\ncontent-type:  application/json; charset=UTF-8\n\n"
      "{ \"name\" : \"\\u0061\" }\n--b\n\nhello\n--b--",
      "--b\nContent-Type: application/json\n\n{\"name\":\"a\"}"
      "                         \n--b\n" },

    { "multipart/related; boundary=b",
      "--b \t\nContent-Type: application/json\n\n{\"name\":\"a\"}\n--b\n",
      "--b\nContent-Type: application/json\n\n{\"name\":\"a\"}  \n--b\n" },

    { "multipart/related; boundary='b'",
      "--b\nContent-Type: application/json\nMIME-Version: 1.0\n\n"
      "{\"name\":\"a\"}\n--b\n", "--b\nContent-Type: application/json\n\n"
      "{\"name\":\"a\"}                  \n--b\n" },

    { "", "--b\n\n{}\n--b\n", NULL },
    { "multipart/mixed; boundary=b",
      "--b\nContent-Type: application/json\n\n{\"name\":\"a\"}\n--b\n", NULL },
    { "multipart/related", "--b\n\n{}\n--b\n", NULL },
    { "multipart/related; boundary=", "--\n\n{}\n--\n", NULL },
    { "multipart/related; boundary=\"b", "--b\n\n{\"name\":\"a\"}\n--b\n",
      NULL },
    { "multipart/related; boundary=b; boundary=c",
      "--b\nContent-Type: application/json\n\n{\"name\":\"a\"}\n--b\n", NULL },
    { "multipart/related; boundary=b%",
      "--b%\nContent-Type: application/json\n\n{\"name\":\"a\"}\n--b%\n",
      NULL },
    { "multipart/related; boundary=b", "", NULL },
    { "multipart/related; boundary=b", "--", NULL },
    { "multipart/related; boundary=b", "--b", NULL },
    { "multipart/related; boundary=b", "--b--", NULL },
    { "multipart/related; boundary=b", "--b\n", NULL },
    { "multipart/related; boundary=b", "--b\n\n", NULL },
    { "multipart/related; boundary=b", "--b\n\n{\"name\":\"a\"}", NULL },
    { "multipart/related; boundary=b", "--b\n\n{\"name\":\"a\"}\n--b", NULL },
    { "multipart/related; boundary=b", "--b\n\n{\"name\":\"a\"}\n--b--\n",
      NULL },
    { "multipart/related; boundary=b", "--b\n\n{\"name\":\"a\"}\n--bc\n",
      NULL },

    { NULL, NULL, NULL }
};


static test_link_t  links[] = {

    { "{\"mediaLink\": \"https://g.test/a\"}",
      "{\"mediaLink\": \"https://here/a\"}" },
    { "{\"selfLink\":\"https://g.test/\",\"x\":1}",
      "{\"selfLink\":\"https://here/\",\"x\":1}" },
    { "{\"x\":[{}],\"mediaLink\":\"https://w.g.test/a\"}",
      "{\"x\":[{}],\"mediaLink\":\"https://here/a\"}" },
    { "{\"items\":[{\"selfLink\":\"https://g.test/a\"},{\"mediaLink\":"
      "\"https://g.test/b\"}],\"kind\":\"x\"}",
      "{\"items\":[{\"selfLink\":\"https://here/a\"},{\"mediaLink\":"
      "\"https://here/b\"}],\"kind\":\"x\"}" },
    { "{\"resource\":{\"selfLink\":\"https://g.test/a\"}}",
      "{\"resource\":{\"selfLink\":\"https://here/a\"}}" },

    { "{\"mediaLink\":\"https://g.tes\"}", NULL },
    { "{\"mediaLink\":\"https://g.test\"}", NULL },
    { "{\"mediaLink\":\"https://g.test.evil/\"}", NULL },
    { "{\"mediaLink\":\"http\\u0073://g.test/\"}", NULL },
    { "{\"mediaLink\":\"\"}", NULL },
    { "{\"medialink\":\"https://g.test/a\"}", NULL },
    { "{\"media\\u004cink\":\"https://g.test/a\"}", NULL },
    { "{\"xmediaLink\":\"https://g.test/a\"}", NULL },
    { "{\"x\":\"mediaLink\",\"y\":\"https://g.test/a\"}", NULL },
    { "{\"x\":\"\\\"mediaLink\\\":\\\"https://g.test/a\"}", NULL },
    { "{\"metadata\":{\"mediaLink\":\"https://g.test/a\"}}", NULL },
    { "{\"items\":{\"a\":{\"mediaLink\":\"https://g.test/a\"}}}", NULL },
    { "{\"items\":[{\"m\":{\"mediaLink\":\"https://g.test/a\"}}]}", NULL },
    { "{\"items\":[[\"mediaLink\",\"https://g.test/a\"]]}", NULL },
    { "{\"mediaLink\":[\"https://g.test/a\"]}", NULL },
    { "[{\"mediaLink\":\"https://g.test/a\"}]", NULL },
    { "\"mediaLink\":\"https://g.test/a\"", NULL },
    { "}}}}]]]", NULL },
    { "", NULL },

    { NULL, NULL }
};


int
main(void)
{
    test_requests();
    test_headers();
    test_bodies();
    test_metadata();
    test_memory();
    test_links();
    test_locations();
    test_masks();
    test_errors();

    return test_failures;
}


static void
test_init(ngx_pool_t *pool, ngx_gcs_api_t *api, const char *path,
    const char *args)
{
    ngx_uint_t         i;
    ngx_gcs_object_t  *object;

    static char  *buckets[] = { "bucket", "", "limited", "in/" };

    ngx_memzero(api, sizeof(ngx_gcs_api_t));

    api->pool = pool;
    api->path = test_text(pool, path);
    api->args = test_text(pool, args);
    api->buckets = ngx_array_create(pool, 2, sizeof(ngx_gcs_object_t));
    api->project = test_text(pool, "ours");

    for (i = 0; i < 4; i += 2) {
        object = ngx_array_push(api->buckets);
        object->bucket = test_text(pool, buckets[i]);
        object->name = test_text(pool, buckets[i + 1]);
    }
}


static void
test_requests(void)
{
    char             args[512];
    size_t           i, n, len;
    ngx_int_t        rc;
    ngx_str_t        path;
    ngx_pool_t      *pool;
    ngx_gcs_api_t    api;
    test_request_t  *t;

    for (t = requests; t->path; t++) {
        pool = test_pool();

        test_init(pool, &api, t->path, t->args);
        api.method = t->method;

        rc = ngx_gcs_api_parse(&api);

        if (t->target) {
            test_check(rc == NGX_OK, t->path);
            test_check(test_equal(&api.target, t->target), t->path);
            test_check(api.needs == t->needs, t->path);

        } else {
            test_check(rc == NGX_DECLINED, t->path);
            test_check(api.refusal.status == t->needs, t->path);
            test_check(api.refusal.error && api.refusal.text, t->path);
            test_check(api.target.len == 0, t->path);
        }

        ngx_destroy_pool(pool);
    }

    /* a parameter more than are read */

    for (i = 0; i < 2; i++) {
        pool = test_pool();

        for (len = 0, n = 0; n < 64 + i; n++) {
            len += sprintf(args + len, "&%d", (int) n);
        }

        test_init(pool, &api, B "/a", args);
        api.method = GET;

        test_check(ngx_gcs_api_parse(&api) == NGX_DECLINED, NULL);
        test_check((strncmp(api.refusal.text, "too many", 8) == 0) == i, NULL);

        ngx_destroy_pool(pool);
    }

    ngx_str_null(&path);
    test_check(ngx_gcs_api_is_xml(&path), "a request line without one");
}


/* what two headers make of a request to the XML API */

static void
test_headers(void)
{
    ngx_int_t       rc;
    ngx_uint_t      i;
    ngx_pool_t     *pool;
    ngx_gcs_api_t   api;

    static struct {
        ngx_gcs_api_method_e  method;
        char                 *path;
        char                 *args;
        char                 *copied;
        ngx_uint_t            resumable;
        ngx_uint_t            refused;
    } table[] = {
        { PUT, "/bucket/a", "", "bucket/b%2Fc", 0, 0 },
        { PUT, "/bucket/a", "", "/bucket/b", 0, 0 },
        { POST, "/bucket/a", "", "", 1, 0 },

        { PUT, "/bucket/a", "", "bucket", 0, 400 },
        { PUT, "/bucket/a", "", "bucket/", 0, 400 },
        { PUT, "/bucket/a", "", "bucket%/b", 0, 400 },
        { PUT, "/bucket/a", "", "bucket/%ff", 0, 400 },
        { PUT, "/bucket/a", "", "bucket/a%", 0, 400 },
        { PUT, "/bucket/a", "", "other/b", 0, 403 },
        { GET, "/bucket/a", "", "bucket/b", 0, 403 },
        { PUT, "/bucket/a", "partNumber=1&uploadId=x", "bucket/b", 0, 403 },
        { PUT, "/bucket/a", "", "", 1, 403 },
        { POST, "/bucket/a", "uploads", "", 1, 403 },
        { 0, NULL, NULL, NULL, 0, 0 }
    };

    for (i = 0; table[i].path; i++) {
        pool = test_pool();

        test_init(pool, &api, table[i].path, table[i].args);
        api.method = table[i].method;
        api.copy_source = test_text(pool, table[i].copied);
        api.resumable = table[i].resumable;

        rc = ngx_gcs_api_parse(&api);

        if (table[i].refused) {
            test_check(rc == NGX_DECLINED, table[i].copied);
            test_check(api.refusal.status == table[i].refused,
                       table[i].copied);

        } else {
            test_check(rc == NGX_OK, table[i].copied);
            test_check(api.starts == table[i].resumable, table[i].copied);
            test_check(api.needs == (table[i].resumable ? W : (R|W)),
                       table[i].copied);
        }

        ngx_destroy_pool(pool);
    }
}


static void
test_bodies(void)
{
    ngx_int_t          rc;
    ngx_str_t          type, body, made, sent;
    ngx_pool_t        *pool;
    ngx_gcs_api_t      api;
    test_multipart_t  *t;

    for (t = multiparts; t->type; t++) {
        pool = test_pool();

        test_init(pool, &api, U, "uploadType=multipart");
        api.method = NGX_GCS_API_M_POST;

        test_check(ngx_gcs_api_parse(&api) == NGX_OK, NULL);
        test_check(api.body == NGX_GCS_API_MULTIPART && api.target.len == 0,
                   NULL);

        type = test_text(pool, t->type);
        body = test_text(pool, t->body);

        rc = ngx_gcs_api_multipart(&api, &type, &body, &made, &sent);

        if (t->made) {
            test_check(rc == NGX_OK, t->body);
            test_check(test_equal(&made, t->made), t->body);
            test_check(test_equal(&sent, "multipart/related; boundary=\"b\""),
                       t->body);
            test_check(test_equal(&api.target,
                                  U "?uploadType=multipart&name=a"), t->body);

        } else {
            test_check(rc == NGX_DECLINED && api.refusal.text, t->body);
        }

        ngx_destroy_pool(pool);
    }
}


static void
test_metadata(void)
{
    size_t          len;
    ngx_int_t       rc;
    ngx_str_t       body, made;
    ngx_uint_t      i;
    ngx_pool_t     *pool;
    ngx_gcs_api_t   api;

    static struct {
        char        *path;
        char        *body;
        ngx_uint_t   refused;
    } table[] = {
        { B "/a/compose", "{\"sourceObjects\":[{\"name\":\"b\"}]}", 0 },
        { B "/a/compose", "", 400 },
        { B "/a/compose", "[]", 400 },
        { B "/a/compose", "{}", 400 },
        { B "/a/rewriteTo/b/bucket/o/c", "", 0 },
        { B "/a/rewriteTo/b/bucket/o/c", "[]", 400 },
        { B "/a/rewriteTo/b/bucket/o/c", "{\"acl\":[{}]}", 403 },
        { NULL, NULL, 0 }
    };

    for (i = 0; table[i].path; i++) {
        pool = test_pool();

        test_init(pool, &api, table[i].path, "");
        api.method = NGX_GCS_API_M_POST;
        body = test_text(pool, table[i].body);

        test_check(ngx_gcs_api_parse(&api) == NGX_OK, table[i].path);

        rc = ngx_gcs_api_metadata(&api, &body, &made);

        if (table[i].refused) {
            test_check(rc == NGX_DECLINED, table[i].body);
            test_check(api.refusal.status == table[i].refused, table[i].body);

        } else {
            test_check(rc == NGX_OK, table[i].body);
        }

        ngx_destroy_pool(pool);
    }

    /* as much as is taken, and a byte more */

    for (i = 0; i < 2; i++) {
        pool = test_pool();
        len = NGX_GCS_API_METADATA_MAX + i;

        test_init(pool, &api, B "/a/rewriteTo/b/bucket/o/c", "");
        api.method = NGX_GCS_API_M_POST;

        body.data = ngx_pnalloc(pool, len);
        body.len = len;

        ngx_memset(body.data, ' ', len);
        ngx_memcpy(body.data, "{}", 2);

        test_check(ngx_gcs_api_parse(&api) == NGX_OK, NULL);

        rc = ngx_gcs_api_metadata(&api, &body, &made);

        test_check(rc == (i ? NGX_DECLINED : NGX_OK), NULL);
        test_check(i == 0 || api.refusal.status == 413, NULL);

        ngx_destroy_pool(pool);
    }
}


/* none of it may be asked of Google when memory is out */

static void
test_memory(void)
{
    ngx_int_t       rc;
    ngx_str_t       body, made;
    ngx_uint_t      i;
    ngx_pool_t     *pool;
    ngx_gcs_api_t   api;

    for (i = 1; i < 40; i++) {
        pool = test_pool();

        test_init(pool, &api, U, "uploadType=resumable&fields=a");
        api.method = NGX_GCS_API_M_POST;
        body = test_text(pool, "{\"name\":\"a\"}");

        shim_allocs = 0;
        shim_fail_at = i;

        rc = ngx_gcs_api_parse(&api);

        if (rc == NGX_OK) {
            rc = ngx_gcs_api_metadata(&api, &body, &made);
        }

        shim_fail_at = 0;

        test_check(rc == (shim_allocs >= i ? NGX_ERROR : NGX_OK), NULL);

        ngx_destroy_pool(pool);
    }
}


static void
test_links(void)
{
    size_t        step;
    ngx_str_t     passed;
    ngx_pool_t   *pool;
    test_link_t  *t;

    for (t = links; t->answer; t++) {
        for (step = 1; step < 70; step++) {
            pool = test_pool();

            passed = test_passed(pool, t->answer, step);

            test_check(test_equal(&passed, t->passed ? t->passed : t->answer),
                       t->answer);

            ngx_destroy_pool(pool);
        }
    }
}


/* what is sent of the answer when it comes in pieces of that size */

static ngx_str_t
test_passed(ngx_pool_t *pool, const char *answer, size_t step)
{
    u_char               *p, *last;
    size_t                i, len;
    ngx_int_t             rc;
    ngx_str_t             text, passed, piece;
    ngx_gcs_api_links_t   state;

    static ngx_str_t  prefixes[] = {
        ngx_string("https://g.test/"),
        ngx_string("https://w.g.test/"),
        ngx_null_string
    };

    ngx_memzero(&state, sizeof(ngx_gcs_api_links_t));

    state.prefixes = prefixes;
    ngx_str_set(&state.origin, "https://here/");

    len = strlen(answer);

    passed.data = ngx_pnalloc(pool, 4 * len + 1);
    passed.len = 0;

    for (i = 0; i < len; i += step) {
        piece = test_bytes(pool, answer + i, ngx_min(step, len - i));

        p = piece.data;
        last = p + piece.len;

        for ( ;; ) {
            rc = ngx_gcs_api_links(&state, &p, last, &text);

            if (rc == NGX_AGAIN) {
                break;
            }

            ngx_memcpy(passed.data + passed.len, text.data, text.len);
            passed.len += text.len;
        }

        test_check(p == last, answer);
    }

    return passed;
}


static void
test_locations(void)
{
    ngx_str_t       origin, location, made;
    ngx_pool_t     *pool;
    ngx_gcs_api_t   api;

    pool = test_pool();

    test_init(pool, &api, U, "uploadType=resumable&name=a/b");
    api.method = NGX_GCS_API_M_POST;

    test_check(ngx_gcs_api_parse(&api) == NGX_OK && api.starts, NULL);

    origin = test_text(pool, "https://here/");

    location = test_text(pool, "https://g.test/upload?x&upload_id=1");
    test_check(ngx_gcs_api_location(&api, &origin, &location, &made)
               == NGX_OK, NULL);
    test_check(test_equal(&made,
                          "https://here/upload?x&upload_id=1&name=a%2Fb"),
               NULL);

    location = test_text(pool, "http://g.test:1/upload?name=a&upload_id=1");
    test_check(ngx_gcs_api_location(&api, &origin, &location, &made)
               == NGX_OK, NULL);
    test_check(test_equal(&made, "https://here/upload?name=a&upload_id=1"),
               NULL);

    location = test_text(pool, "/upload");
    test_check(ngx_gcs_api_location(&api, &origin, &location, &made)
               == NGX_DECLINED, NULL);

    location = test_text(pool, "https://g.test");
    test_check(ngx_gcs_api_location(&api, &origin, &location, &made)
               == NGX_DECLINED, NULL);

    ngx_destroy_pool(pool);
}


static void
test_masks(void)
{
    ngx_str_t     line;
    ngx_uint_t    i;
    ngx_pool_t   *pool;

    static char  *lines[] = {
        "PUT /a?upload_id=secret HTTP/1.1", "PUT /a?upload_id=- HTTP/1.1",
        "PUT /a?x=y&UPLOAD_ID=secret&z HTTP/1.1",
        "PUT /a?x=y&UPLOAD_ID=-&z HTTP/1.1",
        "/a?upload_id=a&upload_id=b", "/a?upload_id=-&upload_id=-",
        "/a?upload_id=", "/a?upload_id=",
        "GET /a HTTP/1.1", "GET /a HTTP/1.1",
        "", "",
        NULL
    };

    pool = test_pool();

    for (i = 0; lines[i]; i += 2) {
        line = test_text(pool, lines[i]);

        test_check(ngx_gcs_api_mask(pool, &line) == NGX_OK, NULL);
        test_check(test_equal(&line, lines[i + 1]), lines[i]);
    }

    ngx_destroy_pool(pool);
}


/* by which clients decide whether they ask again */

static void
test_errors(void)
{
    char         made[256];
    ngx_str_t    text, body;
    ngx_uint_t   i;
    ngx_pool_t  *pool;

    static struct {
        ngx_uint_t   status;
        char        *reason;
        char        *code;
    } table[] = {
        { 400, "invalid", "InvalidArgument" },
        { 401, "required", "AuthenticationRequired" },
        { 403, "forbidden", "AccessDenied" },
        { 404, "notFound", "NoSuchKey" },
        { 413, "uploadTooLarge", "EntityTooLarge" },
        { 429, "rateLimitExceeded", "SlowDown" },
        { 500, "backendError", "InternalError" },
        { 503, "backendError", "ServiceUnavailable" },
        { 0, NULL, NULL }
    };

    pool = test_pool();
    text = test_text(pool, "<\"\\\n");

    for (i = 0; table[i].status; i++) {
        test_check(ngx_gcs_api_error(pool, 0, table[i].status, &text, &body)
                   == NGX_OK, NULL);

        sprintf(made, "{\"error\":{\"code\":%d,\"message\":"
                "\"nginx: <\\\"\\\\?\",\"errors\":[{\"message\":"
                "\"nginx: <\\\"\\\\?\",\"domain\":\"global\","
                "\"reason\":\"%s\"}]}}\n",
                (int) table[i].status, table[i].reason);
        test_check(test_equal(&body, made), made);

        test_check(ngx_gcs_api_error(pool, 1, table[i].status, &text, &body)
                   == NGX_OK, NULL);

        sprintf(made, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s"
                "</Code><Message>nginx: &#60;\"\\?</Message></Error>",
                table[i].code);
        test_check(test_equal(&body, made), made);
    }

    ngx_destroy_pool(pool);
}
