
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_API_H_INCLUDED_
#define _NGX_GCS_API_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_object.h"


/*
 * Requests of Google's own clients to the JSON API and to the XML API of Cloud
 * Storage: what one of them asks for, whether it may, and how it is asked of
 * Google.  What is known passes, all else is refused; nothing is passed as the
 * client has written it, it is made anew from what was understood.
 *
 *     api.pool, .log, .method, .path, ... = ...;
 *     ngx_gcs_api_parse(&api);
 *     ngx_gcs_api_metadata(&api, ...);      as api.body says
 *     api.target                            is what is asked of Google
 */


#define ngx_gcs_api_is(value, text)                                           \
    ((value)->len == sizeof(text) - 1                                         \
     && ngx_memcmp((value)->data, text, sizeof(text) - 1) == 0)


/* operations, as bits: each parameter is known to some of them */

#define NGX_GCS_API_BUCKET        0x00000001
#define NGX_GCS_API_LAYOUT        0x00000002
#define NGX_GCS_API_PERMISSIONS   0x00000004
#define NGX_GCS_API_LIST          0x00000008
#define NGX_GCS_API_GET           0x00000010
#define NGX_GCS_API_DELETE        0x00000020
#define NGX_GCS_API_UPDATE        0x00000040
#define NGX_GCS_API_COPY          0x00000080
#define NGX_GCS_API_COMPOSE       0x00000100
#define NGX_GCS_API_UPLOAD        0x00000200
#define NGX_GCS_API_SESSION       0x00000400
#define NGX_GCS_API_MOVE          0x00000800

#define NGX_GCS_API_XML_BUCKET    0x00001000
#define NGX_GCS_API_XML_LIST      0x00002000
#define NGX_GCS_API_XML_GET       0x00004000
#define NGX_GCS_API_XML_DELETE    0x00008000
#define NGX_GCS_API_XML_PUT       0x00010000
#define NGX_GCS_API_XML_START     0x00020000
#define NGX_GCS_API_XML_SESSION   0x00040000
#define NGX_GCS_API_XML_INITIATE  0x00080000
#define NGX_GCS_API_XML_PART      0x00100000
#define NGX_GCS_API_XML_PARTS     0x00200000
#define NGX_GCS_API_XML_COMPLETE  0x00400000
#define NGX_GCS_API_XML_ABORT     0x00800000

#define NGX_GCS_API_JSON_ALL      0x00000fff
#define NGX_GCS_API_XML_ALL       0x00fff000
#define NGX_GCS_API_SESSIONS      (NGX_GCS_API_SESSION|NGX_GCS_API_XML_SESSION)


/* what "gcs_methods" must name */

#define NGX_GCS_API_READS         1
#define NGX_GCS_API_WRITES        2
#define NGX_GCS_API_DELETES       4


/* what is read of a body before Google is asked, and how much */

#define NGX_GCS_API_METADATA_MAX  65536

/* the part of a multipart body that holds the metadata, with its headers */
#define NGX_GCS_API_HEAD_MAX      (NGX_GCS_API_METADATA_MAX + 4096)


typedef enum {
    NGX_GCS_API_NONE = 0,         /* no body */
    NGX_GCS_API_STREAM,           /* goes to Google while it arrives */
    NGX_GCS_API_METADATA,         /* JSON, or nothing */
    NGX_GCS_API_MULTIPART         /* JSON, and then the bytes */
} ngx_gcs_api_body_e;


typedef enum {
    NGX_GCS_API_M_OTHER = 0,
    NGX_GCS_API_M_GET,
    NGX_GCS_API_M_HEAD,
    NGX_GCS_API_M_POST,
    NGX_GCS_API_M_PUT,
    NGX_GCS_API_M_PATCH,
    NGX_GCS_API_M_DELETE
} ngx_gcs_api_method_e;


typedef struct {
    ngx_uint_t             status;
    char                  *error;         /* a word */
    char                  *text;
} ngx_gcs_api_refusal_t;


typedef struct {
    ngx_str_t              name;
    ngx_str_t              value;         /* decoded */
    ngx_uint_t             ops;           /* that know it */
    unsigned               assigned:1;    /* there was a "=" */
    unsigned               dropped:1;     /* is not sent */
} ngx_gcs_api_param_t;


typedef struct {
    /* the request */
    ngx_pool_t            *pool;
    ngx_gcs_api_method_e   method;
    ngx_str_t              path;          /* as it was sent */
    ngx_str_t              args;          /* likewise */
    ngx_str_t              copy_source;   /* X-Goog-Copy-Source, if any */
    ngx_uint_t             resumable;     /* X-Goog-Resumable: start */

    /* what may be asked for */
    ngx_array_t           *buckets;       /* of ngx_gcs_object_t */
    ngx_str_t              project;       /* that is billed, if any */

    /* what it is */
    ngx_uint_t             op;
    ngx_uint_t             needs;
    ngx_gcs_api_body_e     body;
    ngx_gcs_object_t       object;        /* what is read or written */
    ngx_gcs_object_t       source;        /* of a copy */
    ngx_array_t            params;        /* of ngx_gcs_api_param_t */
    ngx_str_t              target;        /* what is sent: path and query */
    ngx_str_t              copied;        /* X-Goog-Copy-Source, made anew */
    ngx_gcs_api_refusal_t  refusal;

    unsigned               xml:1;         /* the form of an error */
    unsigned               uploads:1;     /* below "/upload" */
    unsigned               downloads:1;   /* below "/download" */
    unsigned               media:1;       /* the answer is an object */
    unsigned               starts:1;      /* ... names a session */
    unsigned               older:1;       /* "copyTo", not "rewriteTo" */
} ngx_gcs_api_t;


/* where the answer stands while the links in it are replaced */

typedef struct {
    ngx_str_t             *prefixes;      /* "https://HOST/", an empty one */
    ngx_str_t              origin;        /* "https://HOST/" of ours */

    uint64_t               objects;       /* bits: level is an object */
    ngx_uint_t             depth;
    ngx_uint_t             root;
    size_t                 len;           /* of the key, or of what is held */
    u_char                 key[16];
    u_char                 held[288];

    unsigned               off:1;
    unsigned               string:1;
    unsigned               escape:1;
    unsigned               keyed:1;       /* a key comes next */
    unsigned               naming:1;      /* ... is being read */
    unsigned               holding:1;
} ngx_gcs_api_links_t;


/*
 * Finds out what is asked for.  NGX_OK; NGX_DECLINED, api->refusal says why
 * not; NGX_ERROR, memory is out.  Where api->body is METADATA or MULTIPART,
 * one of the next two comes before api->target and the object's name are
 * known.
 */
ngx_int_t ngx_gcs_api_parse(ngx_gcs_api_t *api);

/*
 * Checks a body of JSON, or an empty one; *made is the one to send, of the
 * same length.  Returns the same.
 */
ngx_int_t ngx_gcs_api_metadata(ngx_gcs_api_t *api, ngx_str_t *body,
    ngx_str_t *made);

/*
 * Checks a multipart body of that Content-Type, of which head is the beginning
 * (all of it, or NGX_GCS_API_HEAD_MAX bytes).  *made is to be sent instead of
 * the beginning of the same length, with *type as the Content-Type.  Returns
 * the same.
 */
ngx_int_t ngx_gcs_api_multipart(ngx_gcs_api_t *api, ngx_str_t *content_type,
    ngx_str_t *head, ngx_str_t *made, ngx_str_t *type);

/* whether errors of that path are XML */
ngx_uint_t ngx_gcs_api_is_xml(ngx_str_t *path);

/* notes a refusal; both texts are constants.  NGX_DECLINED */
ngx_int_t ngx_gcs_api_refuse(ngx_gcs_api_t *api, ngx_uint_t status,
    char *error, char *text);

/* the body of an error as Google's clients understand it */
ngx_int_t ngx_gcs_api_error(ngx_pool_t *pool, ngx_uint_t xml,
    ngx_uint_t status, ngx_str_t *text, ngx_str_t *body);

/*
 * The address of a session as the client is to use it: below origin, with the
 * object's name in it.  NGX_DECLINED: it is not one.
 */
ngx_int_t ngx_gcs_api_location(ngx_gcs_api_t *api, ngx_str_t *origin,
    ngx_str_t *location, ngx_str_t *made);

/* copies a request line without the keys of sessions, if there are any */
ngx_int_t ngx_gcs_api_mask(ngx_pool_t *pool, ngx_str_t *line);

/*
 * Reads on in an answer of JSON, from *pos, which is moved.  What comes next
 * of the answer is *text: NGX_OK, a piece of what was given; NGX_DONE, a text
 * that is not part of it, and changes with the next call unless it is the
 * origin; NGX_AGAIN, nothing until more is given.
 */
ngx_int_t ngx_gcs_api_links(ngx_gcs_api_links_t *links, u_char **pos,
    u_char *last, ngx_str_t *text);


/* of one of the files ngx_gcs_api*.c for the others */

/* finds out what is asked for below "/b" of the JSON API, or of the other */
ngx_int_t ngx_gcs_api_json(ngx_gcs_api_t *api, ngx_str_t *rest);
ngx_int_t ngx_gcs_api_xml(ngx_gcs_api_t *api);

/* "X-Goog-Copy-Source: [/]BUCKET/NAME", escaped as in a path */
ngx_int_t ngx_gcs_api_xml_copy(ngx_gcs_api_t *api);

/* refuses what is none of this */
ngx_int_t ngx_gcs_api_unknown(ngx_gcs_api_t *api);

/* decodes and sorts the query into api->params */
ngx_int_t ngx_gcs_api_query(ngx_gcs_api_t *api);

/* whether all of them are known to api->op */
ngx_int_t ngx_gcs_api_query_check(ngx_gcs_api_t *api);

/* the value of a parameter, or NULL */
ngx_str_t *ngx_gcs_api_param(ngx_gcs_api_t *api, char *name);

/* decodes text once, into *value */
ngx_int_t ngx_gcs_api_decode(ngx_gcs_api_t *api, u_char *data, size_t len,
    ngx_uint_t plus, ngx_str_t *value);

/* whether "gcs_buckets" names the bucket, and the name may be in it */
ngx_uint_t ngx_gcs_api_bucket_allowed(ngx_gcs_api_t *api, ngx_str_t *bucket);
ngx_uint_t ngx_gcs_api_name_allowed(ngx_gcs_api_t *api,
    ngx_gcs_object_t *object);

/* checks an object that is asked for, except that its name may be empty */
ngx_int_t ngx_gcs_api_object(ngx_gcs_api_t *api, ngx_gcs_object_t *object);

/* where the text is, in whatever case, or NULL */
u_char *ngx_gcs_api_find(u_char *p, u_char *last, char *text);

/* makes api->target */
ngx_int_t ngx_gcs_api_target(ngx_gcs_api_t *api);


#endif /* _NGX_GCS_API_H_INCLUDED_ */
