
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_list_parts.h"


/*
 * The ListBucketResult of the XML API.  A declaration and comments are read
 * over; a DOCTYPE or a CDATA section, which Cloud Storage has no use for, is
 * an error.
 */


typedef enum {
    ngx_gcs_list_xml_text = 0,
    ngx_gcs_list_xml_entity,
    ngx_gcs_list_xml_tag,            /* behind "<" */
    ngx_gcs_list_xml_start,          /* its name */
    ngx_gcs_list_xml_attributes,
    ngx_gcs_list_xml_quoted,
    ngx_gcs_list_xml_empty,          /* behind "/" */
    ngx_gcs_list_xml_end,            /* its name */
    ngx_gcs_list_xml_end_blank,
    ngx_gcs_list_xml_declaration,
    ngx_gcs_list_xml_bang,
    ngx_gcs_list_xml_comment
} ngx_gcs_list_xml_e;


typedef enum {
    NGX_GCS_LIST_XML_OTHER = 0,
    NGX_GCS_LIST_XML_ROOT,
    NGX_GCS_LIST_XML_CONTENTS,
    NGX_GCS_LIST_XML_PREFIXES,
    NGX_GCS_LIST_XML_TOKEN,
    NGX_GCS_LIST_XML_PREFIX,
    NGX_GCS_LIST_XML_FIELD           /* and more: a field */
} ngx_gcs_list_xml_place_e;


static ngx_int_t ngx_gcs_list_xml_char(ngx_gcs_list_parser_t *parser,
    u_char ch, ngx_gcs_list_entry_t *entry);
static ngx_int_t ngx_gcs_list_xml_markup(ngx_gcs_list_parser_t *parser,
    u_char ch, ngx_gcs_list_entry_t *entry);
static ngx_int_t ngx_gcs_list_xml_content(ngx_gcs_list_parser_t *parser,
    u_char ch);
static ngx_int_t ngx_gcs_list_xml_behind(ngx_gcs_list_parser_t *parser,
    u_char ch);
static ngx_int_t ngx_gcs_list_xml_special(ngx_gcs_list_parser_t *parser,
    u_char ch);
static ngx_int_t ngx_gcs_list_xml_attribute(ngx_gcs_list_parser_t *parser,
    u_char ch);
static void ngx_gcs_list_xml_name(ngx_gcs_list_parser_t *parser, u_char ch);
static ngx_uint_t ngx_gcs_list_xml_is_name(u_char ch);
static ngx_int_t ngx_gcs_list_xml_open(ngx_gcs_list_parser_t *parser);
static ngx_int_t ngx_gcs_list_xml_close(ngx_gcs_list_parser_t *parser,
    ngx_gcs_list_entry_t *entry);
static void ngx_gcs_list_xml_resume(ngx_gcs_list_parser_t *parser);
static ngx_int_t ngx_gcs_list_xml_reference(ngx_gcs_list_parser_t *parser);
static ngx_int_t ngx_gcs_list_xml_number(ngx_gcs_list_parser_t *parser);


static ngx_gcs_list_name_t  ngx_gcs_list_xml_root[] = {
    { "ListBucketResult", NGX_GCS_LIST_XML_ROOT },
    { NULL, 0 }
};


static ngx_gcs_list_name_t  ngx_gcs_list_xml_members[] = {
    { "Contents", NGX_GCS_LIST_XML_CONTENTS },
    { "CommonPrefixes", NGX_GCS_LIST_XML_PREFIXES },
    { "NextContinuationToken", NGX_GCS_LIST_XML_TOKEN },
    { NULL, 0 }
};


static ngx_gcs_list_name_t  ngx_gcs_list_xml_fields[] = {
    { "Key", NGX_GCS_LIST_XML_FIELD + NGX_GCS_LIST_NAME },
    { "Size", NGX_GCS_LIST_XML_FIELD + NGX_GCS_LIST_SIZE },
    { "LastModified", NGX_GCS_LIST_XML_FIELD + NGX_GCS_LIST_UPDATED },
    { "Generation", NGX_GCS_LIST_XML_FIELD + NGX_GCS_LIST_GENERATION },
    { "ETag", NGX_GCS_LIST_XML_FIELD + NGX_GCS_LIST_MD5 },
    { NULL, 0 }
};


static ngx_gcs_list_name_t  ngx_gcs_list_xml_prefixes[] = {
    { "Prefix", NGX_GCS_LIST_XML_PREFIX },
    { NULL, 0 }
};


static ngx_gcs_list_name_t  ngx_gcs_list_xml_entities[] = {
    { "amp", '&' },
    { "lt", '<' },
    { "gt", '>' },
    { "quot", '"' },
    { "apos", '\'' },
    { NULL, 0 }
};


ngx_int_t
ngx_gcs_list_xml(ngx_gcs_list_parser_t *parser, u_char **pos, u_char *last,
    ngx_gcs_list_entry_t *entry)
{
    u_char     *p;
    ngx_int_t   rc;

    for (p = *pos; p < last; p++) {

        rc = ngx_gcs_list_xml_char(parser, *p, entry);

        if (rc == NGX_DONE) {
            *pos = p + 1;
            return NGX_OK;
        }

        if (rc == NGX_ERROR) {
            *pos = p;
            return NGX_ERROR;
        }
    }

    *pos = p;

    return NGX_AGAIN;
}


/* NGX_DONE: there is an entry */

static ngx_int_t
ngx_gcs_list_xml_char(ngx_gcs_list_parser_t *parser, u_char ch,
    ngx_gcs_list_entry_t *entry)
{
    switch (parser->state) {

    case ngx_gcs_list_xml_text:
        return ngx_gcs_list_xml_content(parser, ch);

    case ngx_gcs_list_xml_entity:

        if (ch == ';') {
            parser->state = ngx_gcs_list_xml_text;
            return ngx_gcs_list_xml_reference(parser);
        }

        if (parser->name_len == sizeof(parser->name)) {
            return ngx_gcs_list_error(parser, "an entity without an end");
        }

        parser->name[parser->name_len++] = ch;

        return NGX_OK;

    case ngx_gcs_list_xml_tag:
        return ngx_gcs_list_xml_behind(parser, ch);

    case ngx_gcs_list_xml_declaration:
    case ngx_gcs_list_xml_bang:
    case ngx_gcs_list_xml_comment:
        return ngx_gcs_list_xml_special(parser, ch);

    default:
        return ngx_gcs_list_xml_markup(parser, ch, entry);
    }
}


/* inside of a tag */

static ngx_int_t
ngx_gcs_list_xml_markup(ngx_gcs_list_parser_t *parser, u_char ch,
    ngx_gcs_list_entry_t *entry)
{
    switch (parser->state) {

    case ngx_gcs_list_xml_start:

        if (ngx_gcs_list_xml_is_name(ch)) {
            ngx_gcs_list_xml_name(parser, ch);
            return NGX_OK;
        }

        if (ngx_gcs_list_xml_open(parser) != NGX_OK) {
            return NGX_ERROR;
        }

        parser->state = ngx_gcs_list_xml_attributes;

        return ngx_gcs_list_xml_attribute(parser, ch);

    case ngx_gcs_list_xml_attributes:
        return ngx_gcs_list_xml_attribute(parser, ch);

    case ngx_gcs_list_xml_quoted:

        if (ch == parser->quote) {
            parser->state = ngx_gcs_list_xml_attributes;

        } else if (ch == '<') {
            return ngx_gcs_list_error(parser, "\"<\" in a value");
        }

        return NGX_OK;

    case ngx_gcs_list_xml_empty:

        if (ch != '>') {
            return ngx_gcs_list_error(parser, "no \">\" behind \"/\"");
        }

        parser->hash = parser->open[parser->depth - 1];

        return ngx_gcs_list_xml_close(parser, entry);

    case ngx_gcs_list_xml_end:

        if (ngx_gcs_list_xml_is_name(ch)) {
            ngx_gcs_list_xml_name(parser, ch);
            return NGX_OK;
        }

        /* fall through */

    default: /* ngx_gcs_list_xml_end_blank */

        parser->state = ngx_gcs_list_xml_end_blank;

        if (ngx_gcs_list_blank(ch)) {
            return NGX_OK;
        }

        if (ch != '>') {
            return ngx_gcs_list_error(parser, "no \">\" behind a name");
        }

        return ngx_gcs_list_xml_close(parser, entry);
    }
}


static ngx_int_t
ngx_gcs_list_xml_content(ngx_gcs_list_parser_t *parser, u_char ch)
{
    if (ch == '<') {
        parser->state = ngx_gcs_list_xml_tag;
        return NGX_OK;
    }

    if (parser->depth == 0) {

        if (ngx_gcs_list_blank(ch)) {
            return NGX_OK;
        }

        return ngx_gcs_list_error(parser, "text outside of the elements");
    }

    if (ch == '&') {
        parser->state = ngx_gcs_list_xml_entity;
        parser->name_len = 0;

        return NGX_OK;
    }

    return ngx_gcs_list_add(parser, &ch, 1);
}


static ngx_int_t
ngx_gcs_list_xml_behind(ngx_gcs_list_parser_t *parser, u_char ch)
{
    parser->name_len = 0;
    parser->hash = 0;
    parser->count = 0;

    if (ch == '/') {

        if (parser->depth == 0) {
            return ngx_gcs_list_error(parser, "an end without a beginning");
        }

        parser->state = ngx_gcs_list_xml_end;
        return NGX_OK;
    }

    if (ch == '?') {
        parser->state = ngx_gcs_list_xml_declaration;
        return NGX_OK;
    }

    if (ch == '!') {
        parser->state = ngx_gcs_list_xml_bang;
        return NGX_OK;
    }

    if (!ngx_gcs_list_xml_is_name(ch)) {
        return ngx_gcs_list_error(parser, "no name behind \"<\"");
    }

    parser->state = ngx_gcs_list_xml_start;
    ngx_gcs_list_xml_name(parser, ch);

    return NGX_OK;
}


/* "<?...?>" and "<!--...-->" */

static ngx_int_t
ngx_gcs_list_xml_special(ngx_gcs_list_parser_t *parser, u_char ch)
{
    switch (parser->state) {

    case ngx_gcs_list_xml_declaration:

        if (ch == '>' && parser->count) {
            parser->state = ngx_gcs_list_xml_text;
        }

        parser->count = (ch == '?');

        return NGX_OK;

    case ngx_gcs_list_xml_bang:

        if (ch != '-') {
            return ngx_gcs_list_error(parser, "a DOCTYPE or a CDATA section");
        }

        if (++parser->count == 2) {
            parser->count = 0;
            parser->state = ngx_gcs_list_xml_comment;
        }

        return NGX_OK;

    default: /* ngx_gcs_list_xml_comment */

        if (ch == '-') {
            parser->count += (parser->count < 2);
            return NGX_OK;
        }

        if (ch == '>' && parser->count == 2) {
            parser->state = ngx_gcs_list_xml_text;
        }

        parser->count = 0;

        return NGX_OK;
    }
}


static ngx_int_t
ngx_gcs_list_xml_attribute(ngx_gcs_list_parser_t *parser, u_char ch)
{
    switch (ch) {

    case '>':
        parser->state = ngx_gcs_list_xml_text;
        break;

    case '/':
        parser->state = ngx_gcs_list_xml_empty;
        break;

    case '"':
    case '\'':
        parser->quote = ch;
        parser->state = ngx_gcs_list_xml_quoted;
        break;

    default:

        if (ch != '=' && !ngx_gcs_list_blank(ch)
            && !ngx_gcs_list_xml_is_name(ch))
        {
            return ngx_gcs_list_error(parser, "a tag is not well-formed");
        }
    }

    return NGX_OK;
}


/* the name without its name space, and a hash of all of it */

static void
ngx_gcs_list_xml_name(ngx_gcs_list_parser_t *parser, u_char ch)
{
    parser->hash = parser->hash * 31 + ch;

    if (ch == ':') {
        parser->name_len = 0;
        return;
    }

    if (parser->name_len < sizeof(parser->name)) {
        parser->name[parser->name_len] = ch;
    }

    parser->name_len++;
}


static ngx_uint_t
ngx_gcs_list_xml_is_name(u_char ch)
{
    return (ch >= '0' && ch <= '9')
           || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')
           || ch == '-' || ch == '_' || ch == '.' || ch == ':' || ch >= 0x80;
}


static ngx_int_t
ngx_gcs_list_xml_open(ngx_gcs_list_parser_t *parser)
{
    ngx_uint_t  depth, place;

    depth = parser->depth;
    place = NGX_GCS_LIST_XML_OTHER;

    if (depth == NGX_GCS_LIST_DEPTH) {
        return ngx_gcs_list_error(parser, "it is nested too deeply");
    }

    if (depth == 0) {
        place = ngx_gcs_list_lookup(ngx_gcs_list_xml_root, parser, place);

        if (place != NGX_GCS_LIST_XML_ROOT || parser->done) {
            return ngx_gcs_list_error(parser, "it is not one "
                                      "\"ListBucketResult\"");
        }

    } else if (parser->place[depth - 1] == NGX_GCS_LIST_XML_ROOT) {
        place = ngx_gcs_list_lookup(ngx_gcs_list_xml_members, parser, place);

    } else if (parser->place[depth - 1] == NGX_GCS_LIST_XML_CONTENTS) {
        place = ngx_gcs_list_lookup(ngx_gcs_list_xml_fields, parser, place);

    } else if (parser->place[depth - 1] == NGX_GCS_LIST_XML_PREFIXES) {
        place = ngx_gcs_list_lookup(ngx_gcs_list_xml_prefixes, parser, place);
    }

    parser->open[depth] = parser->hash;
    parser->place[depth] = (u_char) place;
    parser->depth++;

    switch (place) {

    case NGX_GCS_LIST_XML_CONTENTS:
        ngx_gcs_list_fresh(parser);
        break;

    case NGX_GCS_LIST_XML_PREFIX:
        ngx_gcs_list_fresh(parser);
        ngx_gcs_list_begin(parser, NGX_GCS_LIST_NAME);
        return NGX_OK;

    case NGX_GCS_LIST_XML_TOKEN:
        ngx_gcs_list_begin(parser, NGX_GCS_LIST_TOKEN);
        return NGX_OK;

    default:

        if (place >= NGX_GCS_LIST_XML_FIELD) {
            ngx_gcs_list_begin(parser, place - NGX_GCS_LIST_XML_FIELD);
            return NGX_OK;
        }
    }

    parser->field = NGX_GCS_LIST_NONE;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_list_xml_close(ngx_gcs_list_parser_t *parser,
    ngx_gcs_list_entry_t *entry)
{
    ngx_uint_t  depth, place;

    depth = parser->depth - 1;
    place = parser->place[depth];

    if (parser->open[depth] != parser->hash) {
        return ngx_gcs_list_error(parser, "an end is not of that beginning");
    }

    parser->depth = depth;
    parser->done = (depth == 0);
    parser->state = ngx_gcs_list_xml_text;

    ngx_gcs_list_xml_resume(parser);

    if (place == NGX_GCS_LIST_XML_CONTENTS
        || place == NGX_GCS_LIST_XML_PREFIX)
    {
        return ngx_gcs_list_take(parser, entry,
                                 place == NGX_GCS_LIST_XML_PREFIX);
    }

    return NGX_OK;
}


/* an element inside of a value does not end it */

static void
ngx_gcs_list_xml_resume(ngx_gcs_list_parser_t *parser)
{
    ngx_uint_t  place;

    place = parser->depth ? parser->place[parser->depth - 1]
                          : NGX_GCS_LIST_XML_OTHER;

    if (place >= NGX_GCS_LIST_XML_FIELD) {
        parser->field = place - NGX_GCS_LIST_XML_FIELD;

    } else if (place == NGX_GCS_LIST_XML_PREFIX) {
        parser->field = NGX_GCS_LIST_NAME;

    } else if (place == NGX_GCS_LIST_XML_TOKEN) {
        parser->field = NGX_GCS_LIST_TOKEN;

    } else {
        parser->field = NGX_GCS_LIST_NONE;
    }
}


static ngx_int_t
ngx_gcs_list_xml_reference(ngx_gcs_list_parser_t *parser)
{
    ngx_uint_t  code;

    if (parser->name_len && parser->name[0] == '#') {
        return ngx_gcs_list_xml_number(parser);
    }

    code = ngx_gcs_list_lookup(ngx_gcs_list_xml_entities, parser, 0);

    if (code == 0) {
        return ngx_gcs_list_error(parser, "an unknown entity");
    }

    return ngx_gcs_list_add_code(parser, (uint32_t) code);
}


/* "#38" or "#x26"; a control character, too, may be in a name */

static ngx_int_t
ngx_gcs_list_xml_number(ngx_gcs_list_parser_t *parser)
{
    u_char    ch, *p, *last;
    uint32_t  base, code;

    p = parser->name + 1;
    last = parser->name + parser->name_len;

    base = 10;
    code = 0;

    if (p < last && *p == 'x') {
        base = 16;
        p++;
    }

    if (p == last) {
        return ngx_gcs_list_error(parser, "an entity without a number");
    }

    for ( /* void */ ; p < last; p++) {
        ch = *p;

        if (ch >= '0' && ch <= '9') {
            ch -= '0';

        } else if (base == 16 && (ch | 0x20) >= 'a' && (ch | 0x20) <= 'f') {
            ch = (ch | 0x20) - 'a' + 10;

        } else {
            return ngx_gcs_list_error(parser, "an entity without a number");
        }

        code = code * base + ch;

        if (code > 0x10ffff) {
            return ngx_gcs_list_error(parser, "an entity beyond Unicode");
        }
    }

    if (code >= 0xd800 && code <= 0xdfff) {
        code = NGX_GCS_LIST_REPLACEMENT;
    }

    return ngx_gcs_list_add_code(parser, code);
}
